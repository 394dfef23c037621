// Validation of weights that predict values of dimensions.
import type { TargetDraw, TargetItem } from '../batch/samplers.js';
import { valueMetrics } from '../evaluate/concordance.js';
import type { Geometry } from '../model/geometry.js';
import type { StageContext } from './context.js';
import { passesOf } from './inputs.js';
import { drawsOf, type ValueValidation } from './validation.js';

/**
 * Validates on the first `maxFrames` frames of each utterance.
 *
 * @param ask gives values f32 `[B, dimensions]` of some draws.
 */
export async function validateValues(
  context: StageContext,
  geometry: Geometry,
  items: readonly TargetItem[],
  maxFrames: number,
  ask: (draws: readonly TargetDraw[]) => Promise<Float32Array>,
): Promise<ValueValidation> {
  const { labels: dimensions } = context;
  const predicted = dimensions.map((): number[] => []);
  for (const group of passesOf(context, geometry, drawsOf(items, maxFrames))) {
    const values = await ask(group);
    for (const [index, value] of values.entries()) predicted[index % dimensions.length]!.push(value);
  }
  const found = dimensions.map((_, dimension) => {
    const truth = items.map(({ values }) => values![dimension]!);
    return valueMetrics(truth, predicted[dimension]!).ccc;
  });
  const ccc = found.reduce((sum, value) => sum + value, 0) / found.length;
  return { ccc, values: Object.fromEntries(dimensions.map((name, index) => [name, found[index]!])), loss: 1 - ccc };
}
