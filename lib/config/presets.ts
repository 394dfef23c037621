import { demoConfig } from './demo.js';
import type { RunConfigInput } from './schema.js';

/** `paper`: every default; `demo`: a small HuBERT from scratch in minutes. */
export const presets = { paper: {}, demo: demoConfig } satisfies Record<string, RunConfigInput>;

export type PresetName = keyof typeof presets;
