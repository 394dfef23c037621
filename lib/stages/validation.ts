// Validation of weights: scores, and how much each kind of logits is to count.
import type { Draw, LabelledItem } from '../batch/samplers.js';
import { type CalibrationScores, calibrationScores, fitCalibration } from '../evaluate/calibration.js';
import { fusedLogits, probabilitiesOf, type UtteranceLogits } from '../evaluate/fusion.js';
import { utteranceMetrics } from '../evaluate/metrics.js';
import type { Geometry } from '../model/geometry.js';
import type { StageContext } from './context.js';
import { passesOf } from './inputs.js';

export interface Validation {
  wa: number;
  ua: number;
  /** Mean cross-entropy: of logits of one kind as they are, of more than one as they are weighed. */
  loss: number;
  calibration: CalibrationScores;
}

/**
 * Validates on the first `maxFrames` frames of each utterance.
 *
 * @param ask gives logits f32 `[B, classes]`, of each kind that there is, of some draws.
 */
export async function validate(
  context: StageContext,
  geometry: Geometry,
  items: readonly LabelledItem[],
  maxFrames: number,
  ask: (draws: readonly (Draw & LabelledItem)[]) => Promise<UtteranceLogits>,
): Promise<Validation> {
  const draws = items.map((item) => ({ ...item, start: 0, count: Math.min(item.frames, maxFrames) }));
  const classes = context.labels.length;
  const rows: UtteranceLogits[] = [];
  for (const group of passesOf(context, geometry, draws)) {
    const kinds = Object.entries(await ask(group));
    for (const index of group.keys()) {
      const own = ([kind, logits]: [string, Float32Array]) => [
        kind,
        logits.subarray(index * classes, (index + 1) * classes),
      ];
      rows.push(Object.fromEntries(kinds.map(own)));
    }
  }
  const truth = items.map(({ label }) => label);
  const weights = fitCalibration(rows, truth);
  const used = Object.keys(weights).length > 1 ? weights : {};
  let loss = 0;
  const predicted = rows.map((row, index) => {
    const logits = fusedLogits(row, used);
    loss -= Math.log(probabilitiesOf(logits)[truth[index]!]!);
    return logits.indexOf(Math.max(...logits));
  });
  const { wa, ua } = utteranceMetrics(truth, predicted, classes);
  return { wa, ua, loss: loss / items.length, calibration: calibrationScores(rows, truth, weights) };
}
