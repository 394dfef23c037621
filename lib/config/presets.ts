import { demoConfig } from './demo.js';
import type { RunConfigInput } from './types.js';

/**
 * What speech emotion diarization trains on (Wang et al., 2023): utterances of up to 15 s, three joined ones to each of the
 * corpus, and the places of their emotions.
 */
const sedConfig = {
  align: { maxSeconds: 15, truth: 'use', concatenate: { share: 3 } },
} satisfies RunConfigInput;

/** What a run that learns values of dimensions has where neither its config nor the preset says otherwise. */
export const regressionDefaults = {
  finetune: { selection: 'validation-ccc' },
  align: { selection: 'validation-ccc', objective: 'attention' },
} satisfies RunConfigInput;

/** `paper`: every default; `demo`: a small HuBERT from scratch in minutes; `sed`: for ZED's protocol. */
export const presets = { paper: {}, demo: demoConfig, sed: sedConfig } satisfies Record<string, RunConfigInput>;

export type PresetName = keyof typeof presets;
