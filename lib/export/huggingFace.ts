// A model as a Hugging Face directory. Weights go from file to file, one at a time.
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { type Head, writeHead } from '../checkpoint/head.js';
import { type StoredPretrained, savedConfig, savedPreprocessor, usePretrained } from '../checkpoint/pretrained.js';
import { writeSafetensors } from '../checkpoint/safetensors.js';
import { EmoframeError } from '../errors.js';
import { writeFileAtomic } from '../files/atomic.js';
import { fileExists } from '../files/read.js';
import type { StoredTensor } from '../model/tensor.js';
import { Weights } from './weights.js';

/** The class of transformers that reads the weights. */
export type Architecture = 'HubertModel' | 'HubertForSequenceClassification';

/**
 * `config.json`, with the labels where there are any.
 *
 * @param externalData whether the weights lie beside an ONNX graph, which transformers.js needs to know
 */
export function configJson(
  { config, head }: StoredPretrained,
  architecture: Architecture,
  externalData = false,
): string {
  const labels = head?.kind === 'classifier' ? head.labels : undefined;
  // Older versions of transformers keep the path that a model was loaded from.
  const { _name_or_path: _, ...saved } = savedConfig(config);
  const record = {
    ...saved,
    architectures: [architecture],
    ...(labels && {
      id2label: Object.fromEntries(labels.map((label, i) => [i, label])),
      label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    }),
    ...(architecture === 'HubertForSequenceClassification' && {
      classifier_proj_size: config.shape.hiddenSize,
      use_weighted_layer_sum: false,
    }),
    ...(externalData && { 'transformers.js_config': { use_external_data_format: true } }),
  };
  return `${JSON.stringify(record, null, 2)}\n`;
}

export function preprocessorJson({ config, normalize }: StoredPretrained): string {
  return `${JSON.stringify(savedPreprocessor(config, normalize), null, 2)}\n`;
}

/**
 * Writes a model into a folder, the head beside it as emoframe keeps it.
 *
 * @param source the model's directory, for messages
 * @throws EmoframeError `ERR_HEAD` when the architecture cannot compute what the head does; `ERR_TENSOR`, `ERR_WRITE`, and
 * what reading the weights throws
 */
export async function writeHuggingFaceModel(
  folder: string,
  pretrained: StoredPretrained,
  source: string,
  architecture: Architecture,
): Promise<void> {
  const { config, tensors, head } = pretrained;
  const weights = new Weights(config.shape, head?.kind === 'classifier' ? head : undefined, tensors, source);
  const saved =
    architecture === 'HubertModel'
      ? [...tensors.values()]
      : sequenceClassification(weights, tensors, classifierFor(head, source), config.shape.hiddenSize);
  await writeFileAtomic(join(folder, 'config.json'), configJson(pretrained, architecture));
  await writeFileAtomic(join(folder, 'preprocessor_config.json'), preprocessorJson(pretrained));
  await writeSafetensors(join(folder, 'model.safetensors'), saved);
  if (head) await writeHead(folder, head);
}

/**
 * Writes the model and the centroids that give frames their cluster, where a predictor has them.
 *
 * @param watch what its tensors are read through
 * @returns whether it has
 */
export async function writeClusters(
  folder: string,
  predictor: string,
  watch: (tensors: ReadonlyMap<string, StoredTensor>) => Map<string, StoredTensor>,
): Promise<boolean> {
  const source = join(predictor, 'clusters');
  const centroids = 'centroids.safetensors';
  if (!(await fileExists(join(source, centroids)))) return false;
  await usePretrained(source, ({ head: _, tensors, ...model }) =>
    writeHuggingFaceModel(join(folder, 'clusters'), { ...model, tensors: watch(tensors) }, source, 'HubertModel'),
  );
  await cp(join(source, centroids), join(folder, 'clusters', centroids));
  return true;
}

/** transformers' class takes the mean of the frames, and nothing else: no tensor is left out without a word. */
function classifierFor(head: Head | undefined, source: string): Head {
  const refuse = (why: string) => new EmoframeError('ERR_HEAD', `${source} ${why}`, { file: source });
  if (head?.kind !== 'classifier') {
    throw refuse('has no classifier, which HubertForSequenceClassification needs; export it as HubertModel.');
  }
  if (head.alignment !== undefined) {
    throw refuse(
      "has an alignment network, which HubertForSequenceClassification cannot hold; export it as HubertModel or as ONNX, or export stage 1b's model (finetune/model).",
    );
  }
  if (head.pooling === 'mean') return head;
  throw refuse(
    `pools its frames by ${head.pooling ?? 'attention'}, but HubertForSequenceClassification takes their mean; export it as HubertModel or as ONNX.`,
  );
}

/** It projects frames before it takes their mean: by the identity here. It has no calibration: the classifier is multiplied by its weight. */
function sequenceClassification(
  weights: Weights,
  encoder: ReadonlyMap<string, StoredTensor>,
  { tensors, calibration }: Head,
  hiddenSize: number,
): StoredTensor[] {
  const weight = calibration?.classifier ?? 1;
  const identity = async () => {
    const data = new Float32Array(hiddenSize * hiddenSize);
    for (let i = 0; i < hiddenSize; i++) data[i * hiddenSize + i] = 1;
    return data;
  };
  return [
    ...[...encoder.values()].map((tensor) => ({ ...tensor, name: `hubert.${tensor.name}` })),
    { name: 'projector.weight', shape: [hiddenSize, hiddenSize], read: identity },
    { name: 'projector.bias', shape: [hiddenSize], read: async () => new Float32Array(hiddenSize) },
    ...tensors.map(({ name }) => {
      const { read, ...tensor } = weights.get(name);
      return { ...tensor, read: async () => (await read()).map((value) => value * weight) };
    }),
  ];
}
