// A finished model of an earlier stage on the held-out session, which stage 5 is the first to read.
import { packLocally, packSamples } from '../batch/pack.js';
import type { Head } from '../checkpoint/head.js';
import { loadHubertClassifier } from '../checkpoint/load.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { type UtteranceOutput, utteranceOutput } from '../evaluate/utteranceOutput.js';
import { groupBy, mapLimited } from '../lists.js';
import { askHeads } from '../model/askHeads.js';
import type { Geometry } from '../model/geometry.js';
import { verifyResult } from '../run/stageResult.js';
import { yieldWhenDue } from '../yield.js';
import { framesOf, type StageContext, samplesOf } from './context.js';
import { framesIn } from './inputs.js';

/** What a model says of one held-out utterance. */
export interface HeldOutOutput {
  id: string;
  /** Of the whole utterance, at 16 kHz. */
  samples: number;
  geometry: Geometry;
  output: UtteranceOutput;
}

/**
 * Predicts every test utterance of at least one frame with a model.
 *
 * @param rowOf makes what is kept of an utterance.
 * @throws `ERR_CORPUS` when there is no such utterance; `ERR_CHECKPOINT_DAMAGED`
 */
export async function predictHeldOut<Row>(
  context: StageContext,
  dir: string,
  rowOf: (found: HeldOutOutput) => Row,
): Promise<{ rows: Row[]; excluded: string[]; head: Head }> {
  await verifyResult(dir);
  const { model, normalize, head } = await loadHubertClassifier(context.engine, dir, context.config.precision);
  const { geometry } = model;
  try {
    const all = await framesOf(context, geometry, context.fold.test);
    const items = all.filter(({ frames }) => frames > 0);
    if (items.length === 0)
      throw new EmoframeError('ERR_CORPUS', `Fold ${context.fold.name} has no test utterance of at least one frame.`);
    const rows: Row[] = [];
    const capacity = framesIn(context.config.memory.passSeconds, geometry);
    for (const group of groupBy(items, ({ frames }) => frames, capacity)) {
      throwIfAborted(context.signal);
      const sounds = await mapLimited(group, ({ id }) => samplesOf(context, id));
      const names = group.map(({ id }) => id);
      const statistics = head.alignment?.statistics;
      const local = statistics && packLocally(sounds, geometry.stride, statistics, names);
      const pools = head.pooling !== undefined;
      const result = await askHeads(
        (batch, asked) => model.classify(batch, undefined, asked),
        pools,
        () => packSamples(sounds, geometry.stride, { names, normalize }),
        local,
      );
      for (const [index, { id }] of group.entries()) {
        await yieldWhenDue();
        const output = utteranceOutput(result, index, head);
        rows.push(rowOf({ id, samples: sounds[index]!.length, geometry, output }));
      }
      context.report.progress(rows.length, items.length, 'predicting the test session');
    }
    return { rows, excluded: all.filter(({ frames }) => frames === 0).map(({ id }) => id), head };
  } finally {
    model.dispose();
  }
}

/** Numbers as rows keep them. */
export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** Values f32 `[T, columns]` as a list of frames. */
export function framesOfValues(values: Float32Array, columns: number): number[][] {
  return Array.from({ length: values.length / columns }, (_, frame) =>
    Array.from(values.subarray(frame * columns, (frame + 1) * columns), (value) => rounded(value, 4)),
  );
}

/** Pooling weights f32 `[T]` as a list. */
export function weightsOf(attention: Float32Array): number[] {
  return Array.from(attention, (weight) => Number(weight.toPrecision(6)));
}
