// Validation of weights: scores, and how much each kind of logits is to count.

import type { TargetDraw, TargetItem } from '../batch/samplers.js';
import { type CalibrationScores, calibrationScores, fitCalibration } from '../evaluate/calibration.js';
import { fusedLogits, probabilitiesOf, type UtteranceLogits } from '../evaluate/fusion.js';
import { utteranceMetrics } from '../evaluate/metrics.js';
import { largestOf } from '../lists.js';
import type { Geometry } from '../model/geometry.js';
import type { Metrics, StageContext } from './context.js';
import { passesOf } from './inputs.js';

/** Validation of classes. */
export interface ClassValidation {
  wa: number;
  ua: number;
  /** Mean cross-entropy: of logits of one kind as they are, of more than one as they are weighed. */
  loss: number;
  calibration: CalibrationScores;
}

/** Validation of values of dimensions. */
export interface ValueValidation {
  /** The mean over dimensions. */
  ccc: number;
  /** CCC of each dimension. */
  values: Record<string, number>;
  /** 1 - the mean CCC. */
  loss: number;
}

export type Validation = ClassValidation | ValueValidation;

/** UA or CCC decides; where a small validation set has two epochs equal, its loss does. */
export function isBetter(found: Validation, best: Partial<Validation>): boolean {
  const [score, highest] = [scoreOf(found), scoreOf(best)];
  if (score === undefined || highest === undefined || best.loss === undefined) return true;
  return score > highest || (score === highest && found.loss < best.loss);
}

function scoreOf(found: Partial<Validation>): number | undefined {
  return 'ccc' in found ? found.ccc : (found as Partial<ClassValidation>).ua;
}

/** What is logged of a validation. */
export function loggedOf(found: Validation): Metrics {
  if ('ua' in found) return { validationLoss: found.loss, validationWa: found.wa, validationUa: found.ua };
  const ofDimensions = Object.entries(found.values).map(([name, ccc]) => [`validationCcc/${name}`, ccc]);
  return { validationLoss: found.loss, validationCcc: found.ccc, ...Object.fromEntries(ofDimensions) };
}

/** Draws of the first `maxFrames` frames of each utterance. */
export function drawsOf(items: readonly TargetItem[], maxFrames: number): TargetDraw[] {
  return items.map((item) => ({ ...item, start: 0, count: Math.min(item.frames, maxFrames) }));
}

/**
 * Validates on the first `maxFrames` frames of each utterance.
 *
 * @param ask gives logits f32 `[B, classes]`, of each kind that there is, of some draws.
 */
export async function validate(
  context: StageContext,
  geometry: Geometry,
  items: readonly TargetItem[],
  maxFrames: number,
  ask: (draws: readonly TargetDraw[]) => Promise<UtteranceLogits>,
): Promise<ClassValidation> {
  const classes = context.labels.length;
  const rows: UtteranceLogits[] = [];
  for (const group of passesOf(context, geometry, drawsOf(items, maxFrames))) {
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
    return logits.indexOf(largestOf(logits));
  });
  const { wa, ua } = utteranceMetrics(truth, predicted, classes);
  return { wa, ua, loss: loss / items.length, calibration: calibrationScores(rows, truth, weights) };
}
