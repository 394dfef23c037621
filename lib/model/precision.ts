import { z } from 'zod';
import type { Precision } from './binding.js';

/** All that a device may compute in, for options. */
export const precisions = ['fp32', 'tf32', 'bf16'] as const satisfies readonly Precision[];

/** The schemas of options that say where and how a model runs. @internal */
export const deviceShape = {
  device: z.string().exactOptional(),
  precision: z.enum(precisions).exactOptional(),
  threads: z.number().int().nonnegative().exactOptional(),
  memoryLimit: z.number().int().nonnegative().exactOptional(),
};
