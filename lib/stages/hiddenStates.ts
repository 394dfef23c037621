// Hidden states of whole utterances, without masking: the reference code masks frames while it extracts what it clusters.

import { packSamples } from '../batch/pack.js';
import type { LoadedHubert } from '../checkpoint/load.js';
import { groupBy, mapLimited } from '../lists.js';
import type { ClusterSource } from './clustering.js';
import { framesOf, type StageContext, samplesOf } from './context.js';
import { framesIn } from './inputs.js';

/** Hidden states at `layer` of those of these utterances that have a frame. */
export async function hiddenStates(
  context: StageContext,
  { model, normalize }: LoadedHubert,
  ids: readonly string[],
  layer: number,
): Promise<ClusterSource> {
  const { geometry } = model;
  const capacity = framesIn(context.config.memory.passSeconds, geometry);
  const dimension = model.config.shape.hiddenSize;
  const items = (await framesOf(context, geometry, ids)).filter(({ frames }) => frames > 0);
  return {
    items,
    dimension,
    async *rows() {
      for (const group of groupBy(items, ({ frames }) => frames, capacity)) {
        const audio = await mapLimited(group, ({ id }) => samplesOf(context, id));
        const names = group.map(({ id }) => id);
        const { hidden, offsets } = await model.encode(
          packSamples(audio, geometry.stride, { names, normalize }),
          layer,
        );
        for (const [index, id] of names.entries())
          yield { id, rows: hidden.subarray(offsets[index]! * dimension, offsets[index + 1]! * dimension) };
      }
    },
  };
}

/** A layer that the model has: `layer`, or its last one. */
export function existingLayer({ model }: LoadedHubert, layer: number): number {
  return Math.min(layer, model.config.shape.layers);
}
