// Stage 5: the held-out session is read for the first time. Stage 4's model and, beside it, stage 1b's give every utterance
// an emotion and every frame a posterior and a weight; where frame-level truth is known, the timelines are scored too.

import { rangeOf } from '../audio/range.js';
import { packLocally, packSamples } from '../batch/pack.js';
import type { Head } from '../checkpoint/head.js';
import { loadHubertClassifier } from '../checkpoint/load.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { type CalibrationScores, calibrationScores } from '../evaluate/calibration.js';
import { diarizationErrors } from '../evaluate/eder.js';
import { frameTruth } from '../evaluate/frames.js';
import { probabilitiesOf, type UtteranceLogits } from '../evaluate/fusion.js';
import { toSegments } from '../evaluate/segments.js';
import { type UtteranceOutput, utteranceOutput } from '../evaluate/utteranceOutput.js';
import { smooth } from '../evaluate/viterbi.js';
import { groupBy, mapLimited } from '../lists.js';
import { askHeads } from '../model/askHeads.js';
import type { ClassifyResult } from '../model/binding.js';
import { Geometry } from '../model/geometry.js';
import { writeRows } from '../run/format.js';
import { type PredictionRow, type Scores, scoreRows } from '../run/scores.js';
import { finishStage, verifyResult } from '../run/stageResult.js';
import { predictingStage } from '../run/stages.js';
import { yieldWhenDue } from '../yield.js';
import { nearestClusters } from './cluster.js';
import type { LabelMap } from './clustering.js';
import { framesOf, type StageContext, samplesOf, utteranceOf } from './context.js';
import { framesIn } from './inputs.js';

/** Runs the stage and leaves rows, and their scores, in `evaluate`. */
export async function evaluate(context: StageContext): Promise<void> {
  const clusters = await nearestClusters(context, context.fold.test);
  const { model } = context.paths.stage(predictingStage(context.config.align.objective));
  const { rows, excluded, calibration } = await predictTest(context, model, clusters);
  const baseline = await predictTest(context, context.paths.stage('finetune').model, clusters);
  await writeRows(context.paths.rows('predictions'), rows);
  await writeRows(context.paths.rows('baseline'), baseline.rows);
  const score = (predicted: readonly PredictionRow[]): Scores => scoreRows(predicted, context.labels, context.neutral);
  await finishStage(context, {
    ...score(rows),
    calibration,
    utterances: rows.length,
    excluded,
    baseline: { ...score(baseline.rows), calibration: baseline.calibration },
  });
}

async function predictTest(
  context: StageContext,
  dir: string,
  clusters: LabelMap,
): Promise<{ rows: PredictionRow[]; excluded: string[]; calibration: CalibrationScores }> {
  await verifyResult(dir);
  const { model, normalize, head } = await loadHubertClassifier(context.engine, dir, context.config.precision);
  const { stride } = model.geometry;
  try {
    const all = await framesOf(context, model.geometry, context.fold.test);
    const items = all.filter(({ frames }) => frames > 0);
    if (items.length === 0)
      throw new EmoframeError('ERR_CORPUS', `Fold ${context.fold.name} has no test utterance of at least one frame.`);
    const rows: PredictionRow[] = [];
    const logits: UtteranceLogits[] = [];
    const capacity = framesIn(context.config.memory.passSeconds, model.geometry);
    for (const group of groupBy(items, ({ frames }) => frames, capacity)) {
      throwIfAborted(context.signal);
      const sounds = await mapLimited(group, ({ id }) => samplesOf(context, id));
      const names = group.map(({ id }) => id);
      const statistics = head.alignment?.statistics;
      const local = statistics && packLocally(sounds, stride, statistics, names);
      const pools = head.pooling !== undefined;
      const result = await askHeads(
        (batch, asked) => model.classify(batch, undefined, asked),
        pools,
        () => packSamples(sounds, stride, { names, normalize }),
        local,
      );
      for (const [index, { id }] of group.entries()) {
        await yieldWhenDue();
        const found = foundIn(context, head, result, index);
        logits.push(found.kinds);
        rows.push(rowOf(context, model.geometry, id, sounds[index]!.length, { ...found, clusters: clusters.get(id) }));
      }
      context.report.progress(rows.length, items.length, 'predicting the test session');
    }
    const truth = rows.map(({ label }) => context.labels.indexOf(label));
    const excluded = all.filter(({ frames }) => frames === 0).map(({ id }) => id);
    return { rows, excluded, calibration: calibrationScores(logits, truth, head.calibration ?? {}) };
  } finally {
    model.dispose();
  }
}

interface Found extends UtteranceOutput {
  /** `[classes]`, of the utterance. */
  probabilities: number[];
  /** i32 `[T]` */
  path: Int32Array;
  timeline: 'alignment' | 'attention';
}

/** The heads' results for one utterance of a batch, with the path of the smoothed posteriors where they give none. */
function foundIn(context: StageContext, head: Head, result: ClassifyResult, index: number): Found {
  const output = utteranceOutput(result, index, head);
  return {
    ...output,
    probabilities: probabilitiesOf(output.logits),
    path: output.path ?? smooth(output.posteriors, context.labels.length, context.config.evaluate.switchingCost),
    timeline: output.path === undefined ? 'attention' : 'alignment',
  };
}

function rowOf(
  context: StageContext,
  geometry: Geometry,
  id: string,
  samples: number,
  found: Found & { clusters: Int32Array | undefined },
): PredictionRow {
  const utterance = utteranceOf(context, id);
  const labels = [...context.labels];
  const frames = found.attention.length;
  const posteriors = Array.from({ length: frames }, (_, frame) =>
    Array.from(found.posteriors.subarray(frame * labels.length, (frame + 1) * labels.length), (value) =>
      rounded(value, 4),
    ),
  );
  const seconds = samples / Geometry.sampleRate;
  const segments = toSegments(found.path, found.posteriors, labels, geometry, seconds);
  return {
    id,
    audio: utterance.audio,
    ...rangeOf(utterance),
    label: utterance.label!,
    predicted: labels[found.probabilities.indexOf(Math.max(...found.probabilities))]!,
    probabilities: found.probabilities.map((probability) => rounded(probability, 6)),
    seconds,
    frameSeconds: geometry.frameSeconds,
    labels,
    timeline: found.timeline,
    posteriors,
    attention: Array.from(found.attention, (weight) => Number(weight.toPrecision(6))),
    ...(found.clusters !== undefined && { clusters: [...found.clusters] }),
    path: [...found.path],
    ...(utterance.segments !== undefined && {
      truth: [...frameTruth(utterance, labels, context.neutral, frames, geometry)],
      errorSeconds: diarizationErrors(utterance.segments, segments, context.neutral, seconds),
    }),
  };
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
