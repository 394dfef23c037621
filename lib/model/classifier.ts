// What a pooled head may be made of, checked before a model is made with it.
import { z } from 'zod';
import { parseOptions, type Shape, strictOptions } from '../issues.js';
import type { ClassifierOptions, PoolingName } from './binding.js';

const count = z.int().positive();

/** Ways of pooling. @internal */
export const poolingName = z.enum([
  'mean',
  'sum',
  'max',
  'attention',
  'attention-linear',
  'stats',
  'attentive-stats',
] satisfies PoolingName[]);

/** What a head may have beside its pooling and its output. @internal */
export const headLayers = {
  source: z.enum(['output', 'layers']).exactOptional(),
  inputNorm: z.enum(['frame', 'utterance']).exactOptional(),
  projector: count.exactOptional(),
  dense: z
    .array(
      z.strictObject({
        width: count,
        norm: z.boolean().exactOptional(),
        activation: z.enum(['none', 'tanh', 'relu']),
      }),
    )
    .exactOptional(),
  bias: z.boolean().exactOptional(),
};

const schema = z.strictObject({
  classifier: strictOptions({
    classes: count,
    task: z.enum(['classification', 'regression']).exactOptional(),
    pooling: poolingName,
    ...headLayers,
    frames: z.strictObject({ window: count, hop: count }).exactOptional(),
  } satisfies Shape<ClassifierOptions>).refine(
    ({ dense = [], frames }) => dense.length === 0 || frames !== undefined,
    'Expected frames (a window and a hop) beside dense layers, which say nothing of a frame alone,',
  ),
});

/**
 * @throws EmoframeError `ERR_ARGUMENT` naming the option that cannot be, and what was received
 * @example
 * checkClassifier({ classes: 4, pooling: 'attentive-stats', projector: 256 });
 */
export function checkClassifier(classifier: ClassifierOptions): void {
  parseOptions(schema, { classifier });
}

/** Width of what a head's pooling reads. */
export function frameWidth({ projector }: ClassifierOptions, hiddenSize: number): number {
  return projector ?? hiddenSize;
}

/**
 * How a pooling that has standard deviations keeps these from 0: by what is added to the variance, or is the least that it is. Undefined:
 * it has none.
 */
export function deviationOf(pooling: PoolingName): 'added' | 'clamped' | undefined {
  if (pooling === 'stats') return 'added';
  return pooling === 'attentive-stats' ? 'clamped' : undefined;
}

/** Width of what it gives. */
export function pooledWidth(options: ClassifierOptions, hiddenSize: number): number {
  return (deviationOf(options.pooling) === undefined ? 1 : 2) * frameWidth(options, hiddenSize);
}
