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
import { type Architecture, architectureFor, encoderClass, familyOf, readsClassifier } from './families.js';
import { Weights } from './weights.js';

/**
 * `config.json`, with the labels where there are any.
 *
 * @param architecture absent: transformers has no class for the model
 * @param externalData whether the weights lie beside an ONNX graph, which transformers.js needs to know
 */
export function configJson(
  { config, head }: StoredPretrained,
  architecture: Architecture | undefined,
  externalData = false,
): string {
  const classifier = head?.kind === 'classifier' ? head : undefined;
  // Older versions of transformers keep the path that a model was loaded from; the architecture and the problem are those of now.
  const { _name_or_path: _, architectures: __, problem_type: ___, ...saved } = savedConfig(config);
  const record = {
    ...saved,
    model_type: familyOf(config).type,
    ...(architecture && { architectures: [architecture] }),
    ...(classifier && {
      id2label: Object.fromEntries(classifier.labels.map((label, i) => [i, label])),
      label2id: Object.fromEntries(classifier.labels.map((label, i) => [label, i])),
      ...(classifier.task && { problem_type: classifier.task }),
    }),
    ...(classifier &&
      architecture &&
      readsClassifier(architecture) && {
        classifier_proj_size: classifier.layers?.projector ?? config.shape.hiddenSize,
        use_weighted_layer_sum: classifier.layers?.source === 'layers',
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
  const saved = readsClassifier(architecture)
    ? sequenceClassification(weights, pretrained, classifierFor(pretrained, architecture, source))
    : [...tensors.values()];
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
    writeHuggingFaceModel(
      join(folder, 'clusters'),
      { ...model, tensors: watch(tensors) },
      source,
      architectureFor(model.config, undefined, source),
    ),
  );
  await cp(join(source, centroids), join(folder, 'clusters', centroids));
  return true;
}

/** transformers' class projects frames and takes their mean, and nothing else: nothing of a head is left out without a word. */
function classifierFor(
  { config, head, normalize }: StoredPretrained,
  architecture: Architecture,
  source: string,
): Head {
  const encoder = encoderClass(config);
  const refuse = (why: string, what = '') =>
    new EmoframeError('ERR_HEAD', `${source} ${why}; export it as ${encoder}${what}.`, { file: source });
  const orOnnx = ' or as ONNX';
  if (head?.kind !== 'classifier') throw refuse(`has no classifier, which ${architecture} needs`);
  if (head.alignment !== undefined) {
    throw refuse(
      `has an alignment network, which ${architecture} cannot hold`,
      `${orOnnx}, or export stage 1b's model (finetune/model)`,
    );
  }
  const { dense = [], inputNorm } = head.layers ?? {};
  if (head.pooling !== 'mean')
    throw refuse(`pools its frames by ${head.pooling ?? 'attention'}, but ${architecture} takes their mean`, orOnnx);
  if (dense.length > 0)
    throw refuse(`has dense layers between pooling and output, which ${architecture} does not have`, orOnnx);
  if (inputNorm !== undefined)
    throw refuse(`normalises hidden states before its head, which ${architecture} does not`, orOnnx);
  if (typeof normalize === 'object')
    throw refuse('brings audio to the model in a way that feature extractors of transformers do not know', orOnnx);
  return head;
}

/**
 * The encoder, the projector or the identity in its place, and the classifier multiplied by its weight, as the class has no
 * calibration; and a bias of zeros where there is none.
 */
function sequenceClassification(
  weights: Weights,
  { config, tensors: encoder }: StoredPretrained,
  { labels, layers = {}, tensors, calibration }: Head,
): StoredTensor[] {
  const { hiddenSize } = config.shape;
  const weight = calibration?.classifier ?? 1;
  const { prefix } = familyOf(config);
  const identity = async () => {
    const data = new Float32Array(hiddenSize * hiddenSize);
    for (let i = 0; i < hiddenSize; i++) data[i * hiddenSize + i] = 1;
    return data;
  };
  const zeros = (name: string, size: number) => ({ name, shape: [size], read: async () => new Float32Array(size) });
  return [
    ...[...encoder.values()].map((tensor) => ({ ...tensor, name: `${prefix}.${tensor.name}` })),
    ...(layers.projector === undefined
      ? [
          { name: 'projector.weight', shape: [hiddenSize, hiddenSize], read: identity },
          zeros('projector.bias', hiddenSize),
        ]
      : []),
    ...tensors.map(({ name }) => {
      const { read, ...tensor } = weights.get(name);
      if (!name.startsWith('classifier.')) return { ...tensor, read };
      return { ...tensor, read: async () => (await read()).map((value) => value * weight) };
    }),
    ...(layers.bias === false ? [zeros('classifier.bias', labels.length)] : []),
  ];
}
