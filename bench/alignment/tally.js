// Scores of utterances and frames from sums an utterance, so that utterances can be drawn again thousands of times.
import { PhiloxStream } from '../../dist/random/philox.js';

/**
 * @typedef {object} Tally what one utterance adds to each score
 * @property {number} label
 * @property {number} predicted
 * @property {number[]} frames of each class in the truth
 * @property {number[]} hits of them, in the timeline
 * @property {number} share of its frames that are emotional; 0 for a neutral utterance
 * @property {number} onEmotion share of the emotional posterior mass that lies on those
 * @property {number} attended share of the attention that lies on those; NaN without attention
 */

export const SCORES = ['wa', 'ua', 'frameAccuracy', 'frameUa', 'eder', 'lift', 'attentionLift'];

/** @returns {Tally} of a row of predictions.jsonl */
export function tallyOf({ labels, label, predicted, truth, path, posteriors, attention }, neutralLabel) {
  const neutral = labels.indexOf(neutralLabel);
  const frames = labels.map(() => 0);
  const hits = labels.map(() => 0);
  let emotional = 0;
  let mass = 0;
  let massOnEmotion = 0;
  let attended = 0;
  for (const [t, actual] of truth.entries()) {
    frames[actual]++;
    if (path[t] === actual) hits[actual]++;
    const emotion = 1 - posteriors[t][neutral];
    mass += emotion;
    if (actual === neutral) continue;
    emotional++;
    massOnEmotion += emotion;
    attended += attention?.[t] ?? Number.NaN;
  }
  const share = emotional / truth.length;
  // Of a timeline without any emotion: as if it lay anywhere.
  const onEmotion = mass > 0 ? massOnEmotion / mass : share;
  const [actual, decided] = [labels.indexOf(label), labels.indexOf(predicted)];
  return { label: actual, predicted: decided, frames, hits, share, onEmotion, attended };
}

/** The row that an always neutral timeline would give. */
export function alwaysNeutral(tally, neutral) {
  const hits = tally.frames.map((count, c) => (c === neutral ? count : 0));
  return { ...tally, predicted: neutral, hits, onEmotion: tally.share, attended: Number.NaN };
}

const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** @param {readonly Tally[]} tallies */
export function scoresOf(tallies) {
  const classes = tallies[0].frames.length;
  const zeros = () => new Float64Array(classes);
  const [utterances, right, frames, hits] = [zeros(), zeros(), zeros(), zeros()];
  let share = 0;
  let onEmotion = 0;
  let attended = 0;
  for (const tally of tallies) {
    utterances[tally.label]++;
    if (tally.label === tally.predicted) right[tally.label]++;
    for (let c = 0; c < classes; c++) {
      frames[c] += tally.frames[c];
      hits[c] += tally.hits[c];
    }
    if (tally.share === 0) continue;
    share += tally.share;
    onEmotion += tally.onEmotion;
    attended += tally.attended;
  }
  const total = (values) => values.reduce((sum, value) => sum + value, 0);
  const recall = (of, all) => meanOf([...of].map((value, c) => value / all[c]).filter((value) => !Number.isNaN(value)));
  const frameAccuracy = total(hits) / total(frames);
  return {
    wa: total(right) / tallies.length,
    ua: recall(right, utterances),
    frameAccuracy,
    frameUa: recall(hits, frames),
    eder: 1 - frameAccuracy,
    lift: onEmotion / share,
    attentionLift: attended / share,
  };
}

/** 97.5 % quantiles of Student's t with 1, 2, … degrees of freedom. */
const STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145];

/**
 * The mean over seeds, and how sure it is: for seeds drawn anew (Student's t, null for one seed), and for these seeds with
 * utterances drawn anew (bootstrap).
 *
 * @param {Tally[][]} bySeed
 */
export function summarize(bySeed, samples = 1000) {
  const each = bySeed.map(scoresOf);
  const redrawn = Array.from({ length: samples }, (_, sample) => {
    const random = new PhiloxStream(1, sample, 0);
    return bySeed.map((tallies) => scoresOf(tallies.map(() => tallies[random.integer(tallies.length)])));
  });
  return Object.fromEntries(
    SCORES.map((score) => {
      const values = each.map((of) => of[score]);
      const mean = meanOf(values);
      const n = values.length;
      const deviation = n > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1)) : null;
      const overSeeds = n > 1 ? ((STUDENT[n - 2] ?? 1.96) * deviation) / Math.sqrt(n) : null;
      const means = redrawn.map((seeds) => meanOf(seeds.map((of) => of[score]))).sort((a, b) => a - b);
      const at = (quantile) => means[Math.round(quantile * (samples - 1))];
      return [score, { mean, deviation, overSeeds, bootstrap: [at(0.025), at(0.975)], values }];
    }),
  );
}
