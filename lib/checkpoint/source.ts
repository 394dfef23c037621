// A checkpoint of any kind, opened: a directory of transformers, of emoframe or of HFLEA's script, or one file of fairseq, s3prl,
// torchaudio or PyTorch Lightning. All of them become the same: a config, and named tensors that are still in their files.
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { Normalization } from '../audio/normalize.js';
import { EmoframeError } from '../errors.js';
import { fileExists, orClose, readError } from '../files/read.js';
import { describeIssues } from '../issues.js';
import { type HubertConfig, parseHubertConfig } from '../model/hubertConfig.js';
import type { StoredTensor } from '../model/tensor.js';
import { readModelJson, unusable } from './failures.js';
import { hfleaHead } from './foreign/hflea.js';
import { type Head, readHead } from './head.js';
import { normalizeNames } from './names.js';
import { checkShapes, describedByShapes, type ModelDescription } from './shapes.js';
import { type OpenWeights, openWeights } from './weights.js';

export const configFile = 'config.json';
export const preprocessorFile = 'preprocessor_config.json';
export const safetensorsFile = 'model.safetensors';
export const torchFile = 'pytorch_model.bin';

/** A checkpoint without its weights. */
export interface Described {
  config: HubertConfig;
  normalize: Normalization;
  head?: Head;
  /** Names of tensors that belong to other heads (`lm_head.weight`) and were left out. */
  ignored: string[];
}

/** A checkpoint that is open. */
export interface CheckpointSource extends Described {
  /** HuBERT's tensors by transformers' names. */
  tensors: Map<string, StoredTensor>;
  /** The file that holds them, or the index of those that do. */
  file: string;
  close(): Promise<void>;
}

// Defaults are those of transformers' Wav2Vec2FeatureExtractor.
const preprocessorSchema = z.looseObject({
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

async function readNormalize(directory: string): Promise<Normalization> {
  const file = join(directory, preprocessorFile);
  if (!(await fileExists(file))) return true;
  const parsed = preprocessorSchema.safeParse(await readModelJson(file));
  if (!parsed.success) throw unusable(file)(describeIssues(parsed.error));
  if (parsed.data.sampling_rate !== 16000) {
    throw unusable(file)(`it asks for audio of ${parsed.data.sampling_rate} Hz; only models of 16000 Hz are supported`);
  }
  return parsed.data.normalization ?? parsed.data.do_normalize;
}

/** config.json and preprocessor_config.json of a directory. */
async function describedByDirectory(directory: string): Promise<ModelDescription> {
  const file = join(directory, configFile);
  const config = (await readModelJson(file)) as Record<string, unknown>;
  // Refuses a model that is not supported before any weight is read.
  parseHubertConfig(config, file);
  return { config, normalize: await readNormalize(directory) };
}

/** Whether the config.json beside a file of weights is a model's: other programs give their settings that name too. */
async function hasModelConfig(directory: string): Promise<boolean> {
  const file = join(directory, configFile);
  if (!(await fileExists(file))) return false;
  const config = await readModelJson(file).catch(() => undefined);
  return typeof config === 'object' && config !== null && ('model_type' in config || 'hidden_size' in config);
}

/** Files of weights in a directory, in the order of preference: safetensors can hold nothing but tensors. */
export const weightFiles = [safetensorsFile, `${safetensorsFile}.index.json`, torchFile, `${torchFile}.index.json`];

/** The file that holds a directory's weights, or the index of those that do. Errors: `ERR_FILE_NOT_FOUND`. */
export async function findWeights(directory: string): Promise<string> {
  for (const name of weightFiles) {
    const path = join(directory, name);
    if (await fileExists(path)) return path;
  }
  throw new EmoframeError(
    'ERR_FILE_NOT_FOUND',
    `${directory} has no weights: neither ${safetensorsFile} nor ${torchFile}, nor an index of either; give a directory saved by transformers or by emoframe.`,
    { file: join(directory, safetensorsFile) },
  );
}

/** What is at a path. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`. */
async function kindOf(path: string): Promise<'directory' | 'file'> {
  try {
    return (await stat(path)).isDirectory() ? 'directory' : 'file';
  } catch (error) {
    const refusal = readError(path, error);
    if (!(refusal instanceof EmoframeError) || refusal.code !== 'ERR_FILE_NOT_FOUND') throw refusal;
    throw new EmoframeError(
      'ERR_FILE_NOT_FOUND',
      `There is no directory or file ${path}; give a directory that holds ${configFile} and ${safetensorsFile}, or a fairseq or torchaudio checkpoint (downloadModel downloads models from the Hub).`,
      { file: path, cause: error },
    );
  }
}

/**
 * Opens a checkpoint of any kind and checks all of it but the tensors' values. Errors: as `loadPretrained`.
 *
 * @example
 * const source = await openCheckpoint('hubert_base_ls960.pt');
 * try {
 *   await source.tensors.get('encoder.layer_norm.weight')?.read();
 * } finally {
 *   await source.close();
 * }
 */
export async function openCheckpoint(path: string): Promise<CheckpointSource> {
  if ((await kindOf(path)) === 'file') return openFile(path);
  if (!(await fileExists(join(path, configFile)))) {
    throw new EmoframeError(
      'ERR_FILE_NOT_FOUND',
      `${path} has no ${configFile}; give a directory saved by transformers or by emoframe, or the checkpoint file itself.`,
      { file: join(path, configFile) },
    );
  }
  const described = await describedByDirectory(path);
  const file = await findWeights(path);
  const head = await readHead(path);
  const weights = await openWeights(file);
  return orClose(weights, () => finish(file, weights, { ...described, at: join(path, configFile) }, head));
}

async function openFile(file: string): Promise<CheckpointSource> {
  const weights = await openWeights(file);
  return orClose(weights, async () => {
    if (weights.description !== undefined) return finish(file, weights, { ...weights.description, at: file });
    const directory = dirname(file);
    if (!(await hasModelConfig(directory))) return finish(file, weights);
    return finish(file, weights, { ...(await describedByDirectory(directory)), at: join(directory, configFile) });
  });
}

async function finish(
  file: string,
  weights: OpenWeights,
  description?: ModelDescription & { at: string },
  ownHead?: Head,
): Promise<CheckpointSource> {
  const { tensors, ignored } = normalizeNames(weights.tensors, file);
  const { config: raw, normalize, at } = description ?? { ...describedByShapes(tensors, file), at: file };
  const config = parseHubertConfig(raw, at);
  checkShapes(config.shape, tensors, file);
  const others = new Set(ignored);
  const head =
    ownHead ??
    (await hfleaHead(
      weights.tensors.filter(({ name }) => others.has(name)),
      raw,
      file,
    ));
  return {
    config,
    normalize,
    tensors,
    ignored,
    file,
    close: weights.close,
    ...(head === undefined ? {} : { head }),
  };
}
