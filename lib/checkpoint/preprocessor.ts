// What the feature extractor beside a model says of its input: a file of its own, or a part of transformers 5's processor.
import { join } from 'node:path';
import { z } from 'zod';
import type { Normalization } from '../audio/normalize.js';
import { isObject } from '../files/json.js';
import { fileExists } from '../files/read.js';
import { describeIssues } from '../issues.js';
import { readModelJson, unusable } from './failures.js';
import { preprocessorFile, processorFile } from './layouts.js';

// Defaults are those of transformers' Wav2Vec2FeatureExtractor.
const schema = z.looseObject({
  do_normalize: z.boolean().default(true),
  sampling_rate: z.number().default(16000),
  // What is written here where neither true nor false is meant.
  normalization: z
    .union([
      z.strictObject({ epsilon: z.number().positive() }),
      z.strictObject({ mean: z.number(), scale: z.number().positive() }),
    ])
    .optional(),
});

/** The feature extractor's settings and the file that has them, in transformers' order of preference; undefined: none does. */
async function findSettings(directory: string): Promise<{ file: string; settings: unknown } | undefined> {
  const processor = join(directory, processorFile);
  if (await fileExists(processor)) {
    const parts = await readModelJson(processor);
    // Before version 5 a processor's file had other parts alone.
    if (isObject(parts) && 'feature_extractor' in parts) return { file: processor, settings: parts.feature_extractor };
  }
  const file = join(directory, preprocessorFile);
  return (await fileExists(file)) ? { file, settings: await readModelJson(file) } : undefined;
}

/**
 * How a directory's model takes waveforms; undefined where nothing says so. Errors: `ERR_CHECKPOINT`, `ERR_READ`.
 */
export async function readNormalization(directory: string): Promise<Normalization | undefined> {
  const found = await findSettings(directory);
  if (found === undefined) return undefined;
  const { file, settings } = found;
  const parsed = schema.safeParse(settings);
  if (!parsed.success) throw unusable(file)(describeIssues(parsed.error));
  const { sampling_rate: rate, normalization, do_normalize: normalize } = parsed.data;
  if (rate !== 16000) {
    throw unusable(file)(`it asks for audio of ${rate} Hz; only models of 16000 Hz are supported`);
  }
  return normalization ?? normalize;
}
