// Model directories as transformers writes and reads them, with our heads beside.
import { join } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { describeIssues } from '../issues.js';
import { type HubertConfig, parseHubertConfig } from '../model/hubertConfig.js';
import type { StoredTensor, Tensor } from '../model/tensor.js';
import { directoryExists, writeDirectoryAtomic, writeFileAtomic } from './atomic.js';
import { fileExists, readJson } from './files.js';
import { checkFinite } from './finite.js';
import { type Head, headFiles, readHead, writeHead } from './head.js';
import { isEncoderName, normalizeNames } from './names.js';
import { openSafetensors, writeSafetensors } from './safetensors.js';
import { checkShapes } from './shapes.js';
import { readTorch } from './torch.js';

export type { Head } from './head.js';

const configFile = 'config.json';
const preprocessorFile = 'preprocessor_config.json';
const safetensorsFile = 'model.safetensors';
const torchFile = 'pytorch_model.bin';

/** What a model directory says of itself, without its weights. */
interface Described {
  config: HubertConfig;
  /** Whether the model expects audio of zero mean and unit variance per utterance. */
  normalize: boolean;
  head?: Head;
  /** Names of tensors that belong to other heads (`lm_head.weight`) and were left out. */
  ignored: string[];
}

/** A model directory in memory. */
export interface Pretrained extends Described {
  /** HuBERT's tensors by transformers' HubertModel names. Whether they are complete is for `Model.importTensors` to say. */
  tensors: Map<string, Tensor>;
}

/** A model directory whose weights are read one tensor at a time, each found to be finite as it is. */
export interface StoredPretrained extends Described {
  /** As in {@link Pretrained}. */
  tensors: Map<string, StoredTensor>;
}

// Defaults are those of transformers' Wav2Vec2FeatureExtractor.
const preprocessorSchema = z.looseObject({
  do_normalize: z.boolean().default(true),
  sampling_rate: z.number().default(16000),
});

async function readNormalize(directory: string): Promise<boolean> {
  const file = join(directory, preprocessorFile);
  if (!(await fileExists(file))) return true;
  const parsed = preprocessorSchema.safeParse(await readJson(file));
  if (!parsed.success) {
    throw new EmoframeError('ERR_CHECKPOINT', `${file} cannot be used: ${describeIssues(parsed.error)}.`, { file });
  }
  if (parsed.data.sampling_rate !== 16000) {
    throw new EmoframeError(
      'ERR_CHECKPOINT',
      `${file} asks for ${parsed.data.sampling_rate} Hz; only models of 16000 Hz audio are supported.`,
      { file },
    );
  }
  return parsed.data.do_normalize;
}

/** The file that holds the weights: safetensors first, as it can hold nothing but tensors. */
async function findWeights(directory: string): Promise<string> {
  for (const name of [safetensorsFile, torchFile]) {
    const path = join(directory, name);
    if (await fileExists(path)) return path;
  }
  for (const name of [`${safetensorsFile}.index.json`, `${torchFile}.index.json`]) {
    const file = join(directory, name);
    if (!(await fileExists(file))) continue;
    throw new EmoframeError(
      'ERR_CHECKPOINT',
      `${directory} is split into several files (${name}), which is not supported; save it again in transformers with max_shard_size="50GB".`,
      { file },
    );
  }
  throw new EmoframeError(
    'ERR_FILE_NOT_FOUND',
    `${directory} has no weights: neither ${safetensorsFile} nor ${torchFile}; give a directory saved by transformers or by emoframe.`,
    { file: join(directory, safetensorsFile) },
  );
}

/** The weights of a file by the names that they have there. */
async function openWeights(file: string): Promise<{ tensors: Iterable<StoredTensor>; close(): Promise<void> }> {
  if (!file.endsWith('.bin')) return openSafetensors(file);
  // Views of a pickle may share and permute their storages, so such a file is read whole.
  const tensors = [...(await readTorch(file)).values()];
  return {
    tensors: tensors.map(({ name, shape, data }) => ({ name, shape, read: async () => data })),
    close: async () => {},
  };
}

/**
 * Gives `use` a model directory whose weights are still in their file, so that they need not all be in memory at once.
 * Everything but the values has been checked before. Errors: as {@link loadPretrained}; `ERR_NOT_FINITE`, `ERR_READ` and
 * `ERR_CHECKPOINT_DAMAGED` also by the tensors' `read`.
 *
 * @example
 * const model = await usePretrained('hubert-base-ls960', async ({ config, tensors }) => {
 *   const model = await engine.createModel({ config, precision: 'fp32' });
 *   await model.importTensors(tensors.values());
 *   return model;
 * });
 */
export async function usePretrained<Result>(
  directory: string,
  use: (pretrained: StoredPretrained) => Promise<Result>,
): Promise<Result> {
  if (!(await directoryExists(directory))) {
    throw new EmoframeError(
      'ERR_FILE_NOT_FOUND',
      `There is no directory ${directory}; give one that holds ${configFile} and ${safetensorsFile}.`,
      { file: directory },
    );
  }
  const configPath = join(directory, configFile);
  if (!(await fileExists(configPath))) {
    throw new EmoframeError(
      'ERR_FILE_NOT_FOUND',
      `${directory} has no ${configFile}; give a directory saved by transformers or by emoframe.`,
      { file: configPath },
    );
  }
  const weights = await findWeights(directory);
  const config = parseHubertConfig(await readJson(configPath), configPath);
  const normalize = await readNormalize(directory);
  const head = await readHead(directory);
  const file = await openWeights(weights);
  try {
    const { tensors, ignored } = normalizeNames(file.tensors, weights);
    checkShapes(config.shape, tensors, weights);
    for (const tensor of tensors.values()) {
      const { name, shape, read } = tensor;
      tensor.read = async (into) => {
        const data = await read(into);
        await checkFinite([{ name, shape, data }], weights, weights);
        return data;
      };
    }
    return await use({ config, tensors, normalize, ignored, ...(head === undefined ? {} : { head }) });
  } finally {
    await file.close();
  }
}

/**
 * Reads a model directory: `config.json`, weights in `model.safetensors` or else `pytorch_model.bin`,
 * `preprocessor_config.json` if there (otherwise input is normalised, as in transformers), and our head if there.
 *
 * Errors: `ERR_FILE_NOT_FOUND` naming what was looked for, `ERR_READ`, `ERR_MODEL_CONFIG` (see parseHubertConfig),
 * `ERR_TENSOR` (weights and `config.json` disagree), `ERR_NOT_FINITE` (a weight is NaN or infinite),
 * `ERR_CHECKPOINT` (not readable as what it should be, or split into several files), `ERR_PICKLE` (see readTorch).
 *
 * @example
 * const { config, tensors, normalize, ignored } = await loadPretrained('hubert-base-ls960');
 * tensors.get('encoder.layers.0.attention.k_proj.weight')?.shape; // [768, 768]
 */
export async function loadPretrained(directory: string): Promise<Pretrained> {
  return usePretrained(directory, async ({ tensors: stored, ...described }) => {
    const tensors = new Map<string, Tensor>();
    for (const { name, shape, read } of stored.values()) tensors.set(name, { name, shape, data: await read() });
    return { ...described, tensors };
  });
}

/** config.json of what is saved here: HuBERT alone, in float32. */
function savedConfig({ raw }: HubertConfig): Record<string, unknown> {
  // `dtype` is the newer name of `torch_dtype`, which all versions of transformers read.
  const { dtype: _, ...kept } = raw;
  return { ...kept, model_type: 'hubert', architectures: ['HubertModel'], torch_dtype: 'float32' };
}

/** What belongs to a model directory and is replaced with it, written by this save or an earlier one. */
const replaced = [
  safetensorsFile,
  torchFile,
  configFile,
  preprocessorFile,
  ...headFiles,
  'clusters',
  'centroids.safetensors',
];

/**
 * Writes a model directory that transformers' `HubertModel.from_pretrained` reads, in one go: a crash leaves the old
 * directory or the new one, whole. `also` may add more files to it before it takes its place. A directory that holds
 * anything else is not replaced.
 *
 * Errors: `ERR_WRITE`, `ERR_NOT_FINITE`, `ERR_TENSOR` (a tensor that is not HuBERT's: heads go in `head`), `ERR_CHECKPOINT` (labels of the
 * head are empty or repeat).
 *
 * @example
 * const { encoder, head } = splitTensors(await model.exportTensors());
 * await savePretrained('predictor', {
 *   config: model.config, tensors: encoder, normalize: true,
 *   head: { kind: 'classifier', labels: ['ang', 'hap', 'neu', 'sad'], pooling: 'attention', tensors: head },
 * });
 */
export async function savePretrained(
  directory: string,
  model: { config: HubertConfig; tensors: Iterable<Tensor> | Map<string, Tensor>; normalize: boolean; head?: Head },
  also?: (temporaryDirectory: string) => Promise<void>,
): Promise<void> {
  const { config, normalize, head } = model;
  const tensors = [...(model.tensors instanceof Map ? model.tensors.values() : model.tensors)];
  const stranger = tensors.find(({ name }) => !isEncoderName(name));
  if (stranger) {
    throw new EmoframeError(
      'ERR_TENSOR',
      `Tensor ${stranger.name} is not one of HuBERT's; give heads in \`head\` (splitTensors parts them).`,
      { tensor: stranger.name },
    );
  }
  await checkFinite([...tensors, ...(head?.tensors ?? [])], 'the model to save', directory);
  const preprocessor = {
    feature_extractor_type: 'Wav2Vec2FeatureExtractor',
    do_normalize: normalize,
    feature_size: 1,
    padding_side: 'right',
    padding_value: 0,
    // Models with GroupNorm were trained without an attention mask, the others with one.
    return_attention_mask: !config.shape.groupNorm,
    sampling_rate: 16000,
  };
  await writeDirectoryAtomic(
    directory,
    async (temporary) => {
      await writeFileAtomic(join(temporary, configFile), `${JSON.stringify(savedConfig(config), null, 2)}\n`);
      await writeFileAtomic(join(temporary, preprocessorFile), `${JSON.stringify(preprocessor, null, 2)}\n`);
      await writeSafetensors(join(temporary, safetensorsFile), tensors);
      if (head) await writeHead(temporary, head);
      await also?.(temporary);
    },
    { replaces: replaced },
  );
}
