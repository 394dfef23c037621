// Models in and out: read from a checkpoint of any kind, written as a directory of transformers with our head beside.
import { join } from 'node:path';
import type { Normalization } from '../audio/normalize.js';
import { EmoframeError } from '../errors.js';
import { writeDirectoryAtomic } from '../files/atomic.js';
import { writeJson } from '../files/json.js';
import type { HubertConfig } from '../model/hubertConfig.js';
import type { StoredTensor, Tensor } from '../model/tensor.js';
import { checkedWhenRead, checkFinite } from './finite.js';
import type { ReadingOptions } from './forms/form.js';
import { type Head, headFiles, writeHead } from './head.js';
import { configFile, preprocessorFile, safetensorsFile, torchFile } from './layouts.js';
import { isEncoderName } from './names.js';
import { writeSafetensors } from './safetensors.js';
import { type Described, openCheckpoint } from './source.js';

export type { Head } from './head.js';

/** A checkpoint in memory. */
export interface Pretrained extends Described {
  /** HuBERT's tensors by transformers' HubertModel names. Whether they are complete is for `Model.importTensors` to say. */
  tensors: Map<string, Tensor>;
}

/** A checkpoint whose weights are read one tensor at a time, and each is checked to be finite as it is read. */
export interface StoredPretrained extends Described {
  /** As in {@link Pretrained}. */
  tensors: Map<string, StoredTensor>;
}

/**
 * Gives `use` a checkpoint whose weights are still in their files, so that they need not all be in memory at once.
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
  path: string,
  use: (pretrained: StoredPretrained) => Promise<Result>,
  options?: ReadingOptions,
): Promise<Result> {
  const { file, close, ...source } = await openCheckpoint(path, options);
  try {
    for (const tensor of source.tensors.values()) {
      const { name, shape, read } = tensor;
      tensor.read = async (into) => {
        const data = await read(into);
        await checkFinite([{ name, shape, data }], file, file);
        return data;
      };
    }
    return await use(source);
  } finally {
    await close();
  }
}

/**
 * Reads a checkpoint of HuBERT, wav2vec 2.0, WavLM, data2vec or emotion2vec:
 *
 * - a directory of transformers or emoframe: `config.json`, weights in `model.safetensors` or else `pytorch_model.bin`, whole or
 *   split with an index, `preprocessor_config.json` or `processor_config.json` if there (otherwise input is normalised, as in
 *   transformers), and the head, our own or in one of the {@link Form}s in which heads are published;
 * - a directory of FunASR's emotion2vec, or of speechbrain's emotion recognition;
 * - a file: a checkpoint of fairseq, s3prl or PyTorch Lightning, a state dict of torchaudio or transformers. What the file does not
 *   say of its model is taken from a `config.json` beside it, or from the shapes of its tensors.
 *
 * Errors: `ERR_FILE_NOT_FOUND` naming what was looked for, `ERR_READ`, `ERR_MODEL_CONFIG` (see parseHubertConfig; or it is unknown
 * what the model is), `ERR_TENSOR` (weights and config disagree), `ERR_NOT_FINITE` (a weight is NaN or infinite), `ERR_CHECKPOINT`
 * (not readable as what it should be, or of another family), `ERR_PICKLE` (a pickle asks for something that no
 * checkpoint has), `ERR_HEAD` (a head that is not whole or that cannot be done, or a tensor that belongs neither to the encoder nor to
 * a known head; `head: 'none'` reads the encoder alone).
 *
 * @example
 * const { config, tensors, normalize, ignored } = await loadPretrained('hubert-base-ls960');
 * tensors.get('encoder.layers.0.attention.k_proj.weight')?.shape; // [768, 768]
 */
export async function loadPretrained(path: string, options?: ReadingOptions): Promise<Pretrained> {
  const use = async ({ tensors: stored, ...described }: StoredPretrained): Promise<Pretrained> => {
    const tensors = new Map<string, Tensor>();
    for (const { name, shape, read } of stored.values()) tensors.set(name, { name, shape, data: await read() });
    return { ...described, tensors };
  };
  return usePretrained(path, use, options);
}

/** The classes that are saved here: an encoder alone. wav2vec 2.0 is saved as the HuBERT that it is without its quantiser. */
const savedClasses: Record<string, string> = {
  wavlm: 'WavLMModel',
  'data2vec-audio': 'Data2VecAudioModel',
  // Of this package: transformers has no such class.
  emotion2vec: 'Emotion2vecModel',
};

/** config.json of what is saved here: the encoder alone, in float32. */
export function savedConfig({ raw }: HubertConfig): Record<string, unknown> {
  // `dtype` is the newer name of `torch_dtype`, which all versions of transformers read.
  const { dtype: _, ...kept } = raw;
  const type = String(raw.model_type);
  const family = Object.hasOwn(savedClasses, type) ? type : 'hubert';
  const architectures = [savedClasses[family] ?? 'HubertModel'];
  return { ...kept, model_type: family, architectures, torch_dtype: 'float32' };
}

/** preprocessor_config.json, from which feature extractors know how the waveform is to be prepared. */
export function savedPreprocessor({ shape }: HubertConfig, normalize: Normalization): Record<string, unknown> {
  return {
    feature_extractor_type: 'Wav2Vec2FeatureExtractor',
    do_normalize: normalize === true || (typeof normalize === 'object' && 'epsilon' in normalize),
    // What transformers has no word for, and this package reads again.
    ...(typeof normalize === 'object' && { normalization: normalize }),
    feature_size: 1,
    padding_side: 'right',
    padding_value: 0,
    // Models with GroupNorm were trained without an attention mask, the others with one.
    return_attention_mask: !shape.groupNorm,
    sampling_rate: 16000,
  };
}

/** What belongs to a model directory and is replaced with it, written by this save or an earlier one. */
const modelFiles = [safetensorsFile, torchFile, configFile, preprocessorFile, ...headFiles, 'centroids.safetensors'];
const replaced = [...modelFiles, 'clusters', ...modelFiles.map((name) => `clusters/${name}`)];

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
  model: {
    config: HubertConfig;
    tensors: Iterable<Tensor | StoredTensor> | Map<string, Tensor | StoredTensor>;
    normalize: Normalization;
    head?: Head;
  },
  also?: (temporaryDirectory: string) => Promise<void>,
): Promise<void> {
  const { config, normalize, head } = model;
  const tensors = [...(model.tensors instanceof Map ? model.tensors.values() : model.tensors)];
  const stranger = tensors.find(({ name }) => !isEncoderName(name));
  if (stranger) {
    throw new EmoframeError(
      'ERR_TENSOR',
      `Tensor ${stranger.name} is not one of HuBERT's; give heads in \`head\` (splitTensors separates them).`,
      { tensor: stranger.name },
    );
  }
  if (head) await checkFinite(head.tensors, 'the model to save', directory);
  await writeDirectoryAtomic(
    directory,
    async (temporary) => {
      await writeJson(join(temporary, configFile), savedConfig(config));
      await writeJson(join(temporary, preprocessorFile), savedPreprocessor(config, normalize));
      const checked = checkedWhenRead(tensors, 'the model to save', directory);
      await writeSafetensors(join(temporary, safetensorsFile), checked);
      if (head) await writeHead(temporary, head);
      await also?.(temporary);
    },
    { replaces: replaced, followLink: true },
  );
}
