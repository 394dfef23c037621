import type { Precision } from './binding.js';

/** All that a device may compute in, for options. */
export const precisions = ['fp32', 'tf32', 'bf16'] as const satisfies readonly Precision[];
