// Stage 5: the held-out session is read for the first time. Stage 4's model and, beside it, stage 1b's give every utterance
// an emotion and every frame a posterior and a weight; where frame-level truth is known, the timelines are scored too.

import { rangeOf } from '../audio/range.js';
import { type CalibrationScores, calibrationScores } from '../evaluate/calibration.js';
import { diarizationErrors } from '../evaluate/eder.js';
import { frameTruth } from '../evaluate/frames.js';
import { probabilitiesOf, type UtteranceLogits } from '../evaluate/fusion.js';
import { toSegments } from '../evaluate/segments.js';
import { smooth } from '../evaluate/viterbi.js';
import { largestOf } from '../lists.js';
import { Geometry } from '../model/geometry.js';
import { writeRows } from '../run/format.js';
import { type PredictionRow, type Scores, scoreRows } from '../run/scores.js';
import { finishStage } from '../run/stageResult.js';
import { predictingStage } from '../run/stages.js';
import { nearestClusters } from './cluster.js';
import type { LabelMap } from './clustering.js';
import { type StageContext, utteranceOf } from './context.js';
import { evaluateValues } from './evaluateValues.js';
import { framesOfValues, type HeldOutOutput, predictHeldOut, rounded, weightsOf } from './heldOut.js';

/** Runs the stage and leaves rows, and their scores, in `evaluate`. */
export async function evaluate(context: StageContext): Promise<void> {
  const clusters = await nearestClusters(context, context.fold.test);
  const { model } = context.paths.stage(predictingStage(context.config.align.objective));
  if (context.config.dimensions !== null) return evaluateValues(context, model, clusters);
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
  const logits: UtteranceLogits[] = [];
  const { rows, excluded, head } = await predictHeldOut(context, dir, (found) => {
    logits.push(found.output.kinds);
    return rowOf(context, found, clusters.get(found.id));
  });
  const truth = rows.map(({ label }) => context.labels.indexOf(label));
  return { rows, excluded, calibration: calibrationScores(logits, truth, head.calibration ?? {}) };
}

function rowOf(
  context: StageContext,
  { id, samples, geometry, output }: HeldOutOutput,
  clusters: Int32Array | undefined,
): PredictionRow {
  const utterance = utteranceOf(context, id);
  const labels = [...context.labels];
  const frames = output.attention.length;
  const probabilities = probabilitiesOf(output.logits);
  const seconds = samples / Geometry.sampleRate;
  // The path of the smoothed posteriors where the heads give none.
  const path = output.path ?? smooth(output.posteriors, labels.length, context.config.evaluate.switchingCost);
  const segments = toSegments(path, output.posteriors, labels, geometry, seconds);
  return {
    id,
    audio: utterance.audio,
    ...rangeOf(utterance),
    label: utterance.label!,
    predicted: labels[probabilities.indexOf(largestOf(probabilities))]!,
    probabilities: probabilities.map((probability) => rounded(probability, 6)),
    seconds,
    frameSeconds: geometry.frameSeconds,
    labels,
    timeline: output.path === undefined ? 'attention' : 'alignment',
    posteriors: framesOfValues(output.posteriors, labels.length),
    attention: weightsOf(output.attention),
    ...(clusters !== undefined && { clusters: [...clusters] }),
    path: [...path],
    ...(utterance.segments !== undefined && {
      truth: [...frameTruth(utterance, labels, context.neutral, frames, geometry)],
      errorSeconds: diarizationErrors(utterance.segments, segments, context.neutral, seconds),
    }),
  };
}
