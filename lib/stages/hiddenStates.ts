// Hidden states of whole utterances, without masking: the reference code masks frames while it extracts what it clusters.
import { groupBy, packSamples } from '../batch/pack.js';
import { mapLimited, type StageContext, samplesOf } from './context.js';
import { framesIn } from './inputs.js';
import type { StageModel } from './models.js';

/** Rows of one utterance. */
export interface UtteranceRows {
  id: string;
  /** f32 `[T, dimension]` */
  rows: Float32Array;
}

/**
 * Hidden states at `layer`, utterance by utterance, in order.
 *
 * @param items utterances of at least one frame.
 */
export async function* hiddenStates(
  context: StageContext,
  { model, normalize }: StageModel,
  items: readonly { id: string; frames: number }[],
  layer: number,
): AsyncGenerator<UtteranceRows> {
  const { geometry } = model;
  const capacity = framesIn(context.config.memory.passSeconds, geometry);
  const width = model.config.shape.hiddenSize;
  for (const group of groupBy(items, (item) => item.frames, capacity)) {
    const audio = await mapLimited(group, ({ id }) => samplesOf(context, id));
    const { hidden, offsets } = await model.encode(
      packSamples(audio, geometry.stride, { names: group.map(({ id }) => id), normalize }),
      layer,
    );
    for (const [index, { id }] of group.entries()) {
      yield { id, rows: hidden.subarray(offsets[index]! * width, offsets[index + 1]! * width) };
    }
  }
}

/** A layer that the model has: `layer`, or its last one. */
export function existingLayer({ model }: StageModel, layer: number): number {
  return Math.min(layer, model.config.shape.layers);
}
