// Stage 5 of a regression: the values of every held-out utterance and of its frames, by stage 4's model and by stage 1b's.
import { rangeOf } from '../audio/range.js';
import { Geometry } from '../model/geometry.js';
import { writeRows } from '../run/format.js';
import { finishStage } from '../run/stageResult.js';
import { scoreValueRows, type ValueRow } from '../run/valueScores.js';
import type { LabelMap } from './clustering.js';
import { type StageContext, utteranceOf } from './context.js';
import { framesOfValues, type HeldOutOutput, predictHeldOut, rounded, weightsOf } from './heldOut.js';

/** Leaves rows, and their scores, in `evaluate`. */
export async function evaluateValues(context: StageContext, model: string, clusters: LabelMap): Promise<void> {
  const predict = (dir: string) =>
    predictHeldOut(context, dir, (found) => rowOf(context, found, clusters.get(found.id)));
  const { rows, excluded } = await predict(model);
  const baseline = await predict(context.paths.stage('finetune').model);
  await writeRows(context.paths.rows('predictions'), rows);
  await writeRows(context.paths.rows('baseline'), baseline.rows);
  await finishStage(context, {
    ...scoreValueRows(rows, context.labels),
    utterances: rows.length,
    excluded,
    baseline: scoreValueRows(baseline.rows, context.labels),
  });
}

function rowOf(
  context: StageContext,
  { id, samples, geometry, output }: HeldOutOutput,
  clusters: Int32Array | undefined,
): ValueRow {
  const { labels: dimensions } = context;
  const utterance = utteranceOf(context, id);
  return {
    id,
    audio: utterance.audio,
    ...rangeOf(utterance),
    target: utterance.values!,
    values: Object.fromEntries(dimensions.map((name, index) => [name, rounded(output.logits[index]!, 6)])),
    seconds: samples / Geometry.sampleRate,
    frameSeconds: geometry.frameSeconds,
    dimensions: [...dimensions],
    // Of a regression these are values.
    frameValues: framesOfValues(output.posteriors, dimensions.length),
    attention: weightsOf(output.attention),
    ...(clusters !== undefined && { clusters: [...clusters] }),
  };
}
