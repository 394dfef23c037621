// The classifier of HFLEA's fine_tune_hubert.py (ASolitaryMan/HFLEA), the reference of this method: it saves a model of its own
// class with transformers, HuBERT with attention pooling (`atten`) and a linear layer (`classifier.fc_out_1`) in one file.
import { EmoframeError } from '../../errors.js';
import type { StoredTensor, Tensor } from '../../model/tensor.js';
import { checkFinite } from '../finite.js';
import type { Head } from '../head.js';

/** The order in which its script numbers the four classes of IEMOCAP; the file itself does not say. */
const itsLabels = ['hap', 'neu', 'sad', 'ang'];

/** Class names of a config.json, where they are more than numbers. */
function labelsOf(config: Record<string, unknown>, classes: number): string[] {
  const named = Object.entries((config.id2label ?? {}) as Record<string, unknown>)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, label]) => String(label));
  const distinct = new Set(named).size === classes && !named.includes('');
  if (named.length === classes && distinct && !named.every((name) => /^LABEL_\d+$/.test(name))) {
    return named;
  }
  return classes === itsLabels.length ? itsLabels : Array.from({ length: classes }, (_, i) => `class ${i}`);
}

/**
 * HFLEA's head among the tensors of a checkpoint that are not HuBERT's.
 *
 * @returns undefined when there is none
 * @throws EmoframeError `ERR_HEAD` when it pools in another way than by its attention, `ERR_NOT_FINITE`, and as reading
 */
export async function hfleaHead(
  tensors: readonly StoredTensor[],
  config: Record<string, unknown>,
  file: string,
): Promise<Head | undefined> {
  const named = (name: string) => tensors.find((tensor) => tensor.name === name);
  const attention = named('atten.atten_weight');
  const classifier = named('classifier.fc_out_1.weight');
  const bias = named('classifier.fc_out_1.bias');
  if (attention === undefined || classifier === undefined || bias === undefined) return undefined;
  const [classes = 0, width] = classifier.shape;
  if (classifier.shape.length !== 2 || attention.shape.join() !== `${width},1`) {
    throw new EmoframeError(
      'ERR_HEAD',
      `${file} holds a classifier of HFLEA's script of shape [${classifier.shape.join(', ')}] over attention weights of shape [${attention.shape.join(', ')}]; only its SoftAttention is supported.`,
      { file, tensor: classifier.name },
    );
  }
  const read: Tensor[] = [
    // Its attention weights are a column.
    { name: 'pooling.weight', shape: attention.shape.slice(0, 1), data: await attention.read() },
    { name: 'classifier.weight', shape: classifier.shape, data: await classifier.read() },
    { name: 'classifier.bias', shape: bias.shape, data: await bias.read() },
  ];
  await checkFinite(read, file, file);
  return { kind: 'classifier', labels: labelsOf(config, classes), pooling: 'attention', tensors: read };
}
