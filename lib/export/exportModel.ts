import { readdir, realpath } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import { z } from 'zod';
import type { ReadingOptions } from '../checkpoint/forms/form.js';
import { headFiles } from '../checkpoint/head.js';
import { type StoredPretrained, usePretrained } from '../checkpoint/pretrained.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { directoryExists, writeDirectoryAtomic, writeFileAtomic } from '../files/atomic.js';
import { isDiskFailure, readError, readText, statsOf } from '../files/read.js';
import { given } from '../given.js';
import { nameOfSnapshot } from '../hub/cache.js';
import { abortSignal, callback, parseOptions, type Shape, strictOptions } from '../issues.js';
import { Geometry } from '../model/geometry.js';
import { elementsOf, type StoredTensor } from '../model/tensor.js';
import { verifyResult } from '../run/stageResult.js';
import { type Architecture, architectureFor, architectures, encoderClass, familyOf } from './families.js';
import { configJson, preprocessorJson, writeClusters, writeHuggingFaceModel } from './huggingFace.js';
import { onnxDataFile, onnxFile } from './onnxFiles.js';
import { type RunRecord, readRunRecord } from './runRecord.js';

export type { Architecture } from './families.js';

/** Of {@link exportModel}. */
export interface ExportOptions {
  /** The folder to write, new or empty. */
  out: string;
  /** `hf`: a Hugging Face directory; `onnx`: one graph from the waveform to the emotions. */
  format: 'hf' | 'onnx';
  /**
   * Of `hf`: the class of transformers that reads the weights, of the encoder's own family: `Hubert`, `Wav2Vec2`, `WavLM` or
   * `Data2VecAudio`. `HubertModel` and its likes (default) read the encoder of any model, and the classifier lies beside it;
   * `HubertForSequenceClassification` and its likes read both, where frames are pooled by their mean and what is pooled goes to the
   * output directly.
   */
  architecture?: Architecture;
  /**
   * Which head of the checkpoint is exported: `ctc-mean`, that of a speech recogniser as a classifier of the mean over frames, or
   * `none`. Default: the one it has.
   */
  head?: NonNullable<ReadingOptions['head']>;
  /** Of `hf`: also the model and the centroids that give frames their cluster (default), where there are any. */
  clusters?: boolean;
  /** Of `onnx`: the weights in a file of their own, `model.onnx_data`. Default: only when the graph's would pass 2 GiB. */
  externalData?: boolean;
  /** In the model card. Default: the name of `out`. */
  name?: string;
  /** In the model card, as the Hub writes it, e.g. `mit`. Default: none is named. */
  license?: string;
  /**
   * In the model card: the model on the Hub that this one comes from, e.g. `facebook/hubert-base-ls960`. Default: the one that
   * was taken from the Hub itself, to train from or to export, if any.
   */
  baseModel?: string;
  /** Replace an earlier export in `out` (default: no). Anything else that lies there is an error all the same. */
  overwrite?: boolean;
  signal?: AbortSignal;
  /** Called after each tensor. */
  onProgress?: (progress: ExportProgress) => void;
}

/** How much of the model is written. */
export interface ExportProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** What was written. */
export interface ExportedModel {
  readonly out: string;
  readonly format: 'hf' | 'onnx';
  /** Paths within `out`, sorted, with their sizes. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** Tensors of the checkpoint that are not in the export: of heads for other tasks (`lm_head.weight`), or that were not asked for. */
  readonly ignored: readonly string[];
}

const text = z.string().min(1);
const optionsSchema = strictOptions({
  out: text,
  format: z.enum(['hf', 'onnx']),
  architecture: z.enum(architectures).exactOptional(),
  head: z.enum(['ctc-mean', 'none']).exactOptional(),
  clusters: z.boolean().exactOptional(),
  externalData: z.boolean().exactOptional(),
  name: text.exactOptional(),
  license: text.exactOptional(),
  baseModel: text.exactOptional(),
  overwrite: z.boolean().exactOptional(),
  signal: abortSignal.exactOptional(),
  onProgress: callback<NonNullable<ExportOptions['onProgress']>>().exactOptional(),
} satisfies Shape<ExportOptions>);

/** Options that say something of one format only. */
export const formatOf = { architecture: 'hf', clusters: 'hf', externalData: 'onnx' } as const;

const cardFile = 'README.md';
const huggingFaceFiles = ['config.json', 'preprocessor_config.json', 'model.safetensors', ...headFiles];
/** All that an export of either format may leave in its folder. */
const replaced = [
  ...[...huggingFaceFiles, onnxFile, onnxDataFile, cardFile, 'clusters'],
  ...[...huggingFaceFiles, 'centroids.safetensors'].map((name) => `clusters/${name}`),
];

/**
 * Writes a model for use elsewhere: as a Hugging Face directory, or as an ONNX graph, with a model card that states the data,
 * settings and scores of the run that the model lies in. The folder takes its place as a whole or not at all; weights pass
 * through memory one tensor at a time.
 *
 * @param dir a model: a fold's `predictor`, a stage's `model`, or any checkpoint that `loadPretrained` reads.
 * @throws `ERR_HEAD` (a classifier that the architecture cannot compute), `ERR_TENSOR` (a weight is missing), `ERR_WRITE`,
 * `ERR_ARGUMENT` (also an architecture of another family, or none for `hf`, as of emotion2vec), `ERR_ABORTED`, and what reading a checkpoint throws.
 * @example
 * await exportModel('runs/a/folds/s1/predictor', { format: 'onnx', out: 'emotions' }); // emotions/model.onnx
 */
export async function exportModel(dir: string, options: ExportOptions): Promise<ExportedModel> {
  const settings = parseOptions(optionsSchema, options);
  for (const [name, format] of Object.entries(formatOf)) {
    if (settings[name as keyof typeof formatOf] === undefined || settings.format === format) continue;
    throw new EmoframeError('ERR_ARGUMENT', `Option ${name} is for format ${format}, not ${settings.format}.`);
  }
  const { out, format, signal } = settings;
  throwIfAborted(signal);
  await verifyResult(dir);
  const { head } = settings;
  const read = async (pretrained: StoredPretrained) => {
    await checkPlace(dir, settings);
    const record = await readRunRecord(dir);
    const watched = { ...pretrained, tensors: watch(pretrained.tensors, settings) };
    await writeDirectoryAtomic(out, (folder) => write(folder, watched, record, dir, settings), {
      replaces: replaced,
      followLink: true,
    });
    return ignoredOf(pretrained, format);
  };
  const ignored = await usePretrained(dir, read, given({ head }));
  return { out, format, files: await filesIn(out), ignored };
}

/** A graph has no place for what predicts masked frames; a directory keeps it beside the encoder. */
function ignoredOf({ head, ignored, form }: StoredPretrained, format: 'hf' | 'onnx'): string[] {
  const unused = format === 'onnx' && head?.kind === 'masked-prediction' ? head.tensors : [];
  // Beside a head of ours, the weights hold it for transformers too.
  return [...(form === 'emoframe' ? [] : ignored), ...unused.map(({ name }) => name)];
}

// The libraries of ONNX and YAML are loaded here: whoever does not export does not wait for them.
async function write(
  folder: string,
  model: StoredPretrained,
  record: RunRecord | undefined,
  dir: string,
  options: ExportOptions,
): Promise<void> {
  const { format, license, baseModel, signal } = options;
  const { config, head, tensors, normalize } = model;
  let clusters = false;
  const architecture = format === 'hf' ? architectureFor(config, options.architecture, dir) : encoderClass(config);
  if (format === 'hf' && architecture !== undefined) {
    await writeHuggingFaceModel(folder, model, dir, architecture);
    if (options.clusters ?? true)
      clusters = await writeClusters(folder, dir, (clusterTensors) =>
        watch(clusterTensors, { ...(signal && { signal }) }),
      );
  } else {
    const { writeOnnxModel } = await import('./onnx.js');
    const files = await writeOnnxModel(folder, model, dir, options.externalData);
    await writeFileAtomic(join(folder, 'config.json'), configJson(model, architecture, files.includes(onnxDataFile)));
    await writeFileAtomic(join(folder, 'preprocessor_config.json'), preprocessorJson(model));
  }
  const { modelCard } = await import('./modelCard.js');
  const card = modelCard({
    name: options.name ?? basename(resolve(options.out)),
    format,
    architecture,
    family: familyOf(config),
    head,
    layers: config.shape.layers,
    preNorm: config.shape.stableLayerNorm,
    hiddenSize: config.shape.hiddenSize,
    parameters: [...tensors.values(), ...(head?.tensors ?? [])].reduce((sum, tensor) => sum + elementsOf(tensor), 0),
    geometry: new Geometry(config.shape),
    normalize,
    clusters,
    ignored: ignoredOf(model, format),
    record,
    license,
    baseModel: baseModel ?? nameOfSnapshot(resolve(dir)),
  });
  await writeFileAtomic(join(folder, cardFile), card);
}

/** Nothing of the user's may be lost: neither the model, by an export in its place, nor what lies where the export goes. */
async function checkPlace(dir: string, { out, overwrite = false }: ExportOptions): Promise<void> {
  const there = await directoryExists(out);
  const [from, to] = [await realpath(dir).catch(refuse(dir)), await realpath(out).catch(() => resolve(out))];
  const within = (inner: string, outer: string) => inner === outer || inner.startsWith(`${outer}${sep}`);
  if (within(from, to) || within(to, from)) {
    throw new EmoframeError(
      'ERR_ARGUMENT',
      `The export must lie neither inside the model's folder ${dir} nor in a folder that contains it, but received ${out}.`,
    );
  }
  const [first] = there ? await readdir(out).catch(refuse(out)) : [];
  if (first === undefined) return;
  if (!overwrite) {
    throw new EmoframeError(
      'ERR_WRITE',
      `${out} is not empty (it contains ${first}): choose a new folder, or allow an earlier export to be replaced (overwrite).`,
      { file: out },
    );
  }
  if (await isExport(out)) return;
  throw new EmoframeError(
    'ERR_WRITE',
    `${out} is not empty (it contains ${first}) and is not an earlier export, whose ${cardFile} has the tag emoframe: choose a new folder, or move what is there away.`,
    { file: out },
  );
}

/** Files of a model have the same names whoever wrote them; the card says that it was written here. */
async function isExport(folder: string): Promise<boolean> {
  const card = await readText(join(folder, cardFile), 1 << 20).catch((error: unknown) => {
    if (isDiskFailure(error)) throw error;
    return '';
  });
  return /^ *- emoframe$/m.test(card);
}

/** The same tensors, which report how many were read, and heed the signal. */
function watch(
  tensors: ReadonlyMap<string, StoredTensor>,
  { signal, onProgress }: Pick<ExportOptions, 'signal' | 'onProgress'>,
): Map<string, StoredTensor> {
  const bytes = (tensor: { shape: readonly number[] }) => 4 * elementsOf(tensor);
  const totalBytes = [...tensors.values()].reduce((sum, tensor) => sum + bytes(tensor), 0);
  let doneBytes = 0;
  const watched = [...tensors].map(([name, tensor]): [string, StoredTensor] => {
    const read = async (into?: Float32Array) => {
      throwIfAborted(signal);
      const data = await tensor.read(into);
      doneBytes += bytes(tensor);
      onProgress?.({ doneBytes, totalBytes });
      return data;
    };
    return [name, { ...tensor, read }];
  });
  return new Map(watched);
}

const refuse = (path: string) => (error: unknown) => {
  throw readError(path, error);
};

async function filesIn(folder: string): Promise<{ path: string; bytes: number }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(refuse(folder));
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  const found = paths.sort().map(async (path) => ({
    path: path.slice(join(folder, sep).length),
    bytes: (await statsOf(path)).size,
  }));
  return Promise.all(found);
}
