// A checkpoint of any kind, opened: a directory of transformers, of emoframe or of HFLEA's script, or one file of fairseq, s3prl,
// torchaudio or PyTorch Lightning. All of them become the same: a config, and named tensors that are still in their files.
import { basename, dirname, join } from 'node:path';
import type { Normalization } from '../audio/normalize.js';
import { EmoframeError } from '../errors.js';
import { isObject } from '../files/json.js';
import { fileExists, orClose, statsOf } from '../files/read.js';
import { type HubertConfig, parseHubertConfig } from '../model/hubertConfig.js';
import type { StoredTensor } from '../model/tensor.js';
import { readModelJson } from './failures.js';
import { describedByEmotion2vec, settingsFile } from './forms/emotion2vec.js';
import type { Form, ReadingOptions } from './forms/form.js';
import { type PublicHead, readPublicHead } from './forms/index.js';
import { describedByOdyssey, isOdyssey } from './forms/odyssey.js';
import { normalizationOfSpeechbrain, withSpeechbrainHead } from './forms/speechbrain.js';
import { type Head, readHead } from './head.js';
import { configFile, findLayout, type LayoutName, safetensorsFile, torchFile } from './layouts.js';
import { normalizeNames } from './names.js';
import { readNormalization } from './preprocessor.js';
import { checkShapes, describedByShapes, type ModelDescription } from './shapes.js';
import { restoreWeightNorm } from './weightNorm.js';
import { type OpenWeights, openWeights } from './weights.js';

/** A checkpoint without its weights. */
export interface Described {
  config: HubertConfig;
  normalize: Normalization;
  /** In which form the head was published; `encoder` where none is read. */
  form: Form;
  head?: Head;
  /** Names of tensors that are neither the encoder's nor the head's and were left out: `lm_head.weight`, `quantizer.codevectors`. */
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

/** A model's description, and the file that it is from. */
type Description = ModelDescription & { at: string };
/** A description may need the names and shapes of the tensors. */
type Describe = (tensors: ReadonlyMap<string, { shape: readonly number[] }>, file: string) => Description;

/** config.json and what is beside it. Refuses a model that is not supported before any weight is read. */
async function describedByDirectory(directory: string): Promise<Describe> {
  const at = join(directory, configFile);
  const config = (await readModelJson(at)) as Record<string, unknown>;
  if (isObject(config) && isOdyssey(config)) {
    return (tensors, file) => ({ ...describedByOdyssey(config, tensors, file, at), at });
  }
  parseHubertConfig(config, at);
  // As in transformers, where no file says.
  const normalize = (await readNormalization(directory)) ?? true;
  return () => ({ config, normalize, at });
}

/** Whether the config.json beside a file of weights is a model's: other programs give their settings that name too. */
async function hasModelConfig(directory: string): Promise<boolean> {
  const file = join(directory, configFile);
  if (!(await fileExists(file))) return false;
  const config = await readModelJson(file).catch(() => undefined);
  return isObject(config) && ('model_type' in config || 'hidden_size' in config);
}

/** speechbrain keeps no config of its encoder; where one of transformers is beside the weights, it is that one. */
async function describedBySpeechbrain(directory: string): Promise<Describe> {
  const normalize = await normalizationOfSpeechbrain(directory, await readNormalization(directory));
  const described = (await hasModelConfig(directory)) ? await describedByDirectory(directory) : undefined;
  return (tensors, file) => ({
    ...(described?.(tensors, file) ?? { ...describedByShapes(tensors, file), at: file }),
    normalize,
  });
}

/** How a directory's model is known before its weights are. */
const describers: Record<LayoutName, (directory: string) => Promise<Describe>> = {
  transformers: describedByDirectory,
  emotion2vec: async (directory) => {
    const described = { ...(await describedByEmotion2vec(directory)), at: join(directory, settingsFile) };
    return () => described;
  },
  speechbrain: describedBySpeechbrain,
};

/** What is at a path. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`. */
async function kindOf(path: string): Promise<'directory' | 'file'> {
  try {
    return (await statsOf(path)).isDirectory() ? 'directory' : 'file';
  } catch (error) {
    if (!(error instanceof EmoframeError) || error.code !== 'ERR_FILE_NOT_FOUND') throw error;
    throw new EmoframeError(
      'ERR_FILE_NOT_FOUND',
      `There is no directory or file ${path}; give a directory that holds ${configFile} and ${safetensorsFile}, or a fairseq or torchaudio checkpoint (downloadModel downloads models from the Hub).`,
      { file: path, cause: error },
    );
  }
}

/** Errors `ERR_FILE_NOT_FOUND` of a directory that has no model, naming what is missing of the commonest one. */
async function noModel(directory: string): Promise<EmoframeError> {
  const config = join(directory, configFile);
  if (!(await fileExists(config))) {
    return new EmoframeError(
      'ERR_FILE_NOT_FOUND',
      `${directory} has no ${configFile}; give a directory saved by transformers or by emoframe, or the checkpoint file itself.`,
      { file: config },
    );
  }
  return new EmoframeError(
    'ERR_FILE_NOT_FOUND',
    `${directory} has no weights: neither ${safetensorsFile} nor ${torchFile}, nor an index of either; give a directory saved by transformers or by emoframe.`,
    { file: join(directory, safetensorsFile) },
  );
}

/** What is to be opened, and how it is described. */
interface Opening {
  layout: LayoutName;
  file: string;
  directory: string;
  /** Absent: the weights say what they are, or a config beside them. */
  describe?: Describe;
  /** Read from beside the weights; what they hold of a head is then the same one again. */
  ownHead?: Head;
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
export async function openCheckpoint(path: string, options: ReadingOptions = {}): Promise<CheckpointSource> {
  const opening = (await kindOf(path)) === 'file' ? await openingOfFile(path) : await openingOf(path, options);
  const weights = await openWeights(opening.file);
  return orClose(weights, async () => {
    const describe = opening.describe ?? (await describedBeside(weights, opening));
    return finish(weights, describe, opening, options);
  });
}

async function openingOf(directory: string, { head }: ReadingOptions): Promise<Opening> {
  const found = await findLayout((name) => fileExists(join(directory, name)));
  if (found === undefined) {
    // A config that cannot be used is refused for what it says, weights or not.
    if (await fileExists(join(directory, configFile))) await describedByDirectory(directory);
    throw await noModel(directory);
  }
  const layout = found.layout.name;
  const describe = await describers[layout](directory);
  const ownHead = head === 'none' || layout !== 'transformers' ? undefined : await readHead(directory);
  return { layout, file: join(directory, found.weights), directory, describe, ...(ownHead && { ownHead }) };
}

/** A file of weights in a directory of another layout than transformers' is read with what lies beside it. */
async function openingOfFile(file: string): Promise<Opening> {
  const directory = dirname(file);
  const found = await findLayout((name) => fileExists(join(directory, name)));
  const layout = found?.layout.name ?? 'transformers';
  if (layout === 'transformers' || found?.weights !== basename(file))
    return { layout: 'transformers', file, directory };
  return { layout, file, directory, describe: await describers[layout](directory) };
}

async function describedBeside(weights: OpenWeights, { file, directory }: Opening): Promise<Describe> {
  const description = weights.describe();
  if (description !== undefined) return () => ({ ...description, at: file });
  if (await hasModelConfig(directory)) return describedByDirectory(directory);
  return (tensors) => ({ ...describedByShapes(tensors, file), at: file });
}

async function finish(
  weights: OpenWeights,
  describe: Describe,
  { file, directory, layout, ownHead }: Opening,
  options: ReadingOptions,
): Promise<CheckpointSource> {
  const { tensors, ignored } = normalizeNames(weights.tensors, file);
  restoreWeightNorm(tensors);
  const { config: raw, normalize, at } = describe(tensors, file);
  const config = parseHubertConfig(raw, at);
  checkShapes(config.shape, tensors, file);
  const others = new Set(ignored);
  const left = weights.tensors.filter(({ name }) => others.has(name));
  const source = { tensors: left, config: raw, shape: config.shape, layout, file, directory };
  const head =
    ownHead === undefined
      ? await withSpeechbrainHead(source, options, (whole) => readPublicHead(whole, options))
      : beside(ownHead, ignored, directory, options);
  return { config, normalize, ...head, tensors, file, close: weights.close };
}

/** A head of our own is the model's, whatever the weights hold for other programs. */
function beside(head: Head, ignored: string[], directory: string, options: ReadingOptions): PublicHead {
  if (options.head === undefined) return { form: 'emoframe', head, ignored };
  throw new EmoframeError(
    'ERR_HEAD',
    `${directory} has a head of emoframe's, and cannot be read as ${options.head}; leave out the option head.`,
    { file: directory },
  );
}
