// speechbrain's emotion recognition on wav2vec 2.0: the encoder in one file and a linear layer, mostly without bias, in another; a file
// of labels; a config that has Python make the model, of which only fields are read.
import { join } from 'node:path';
import type { Normalization } from '../../audio/normalize.js';
import { isObject, textOf } from '../../files/json.js';
import { own } from '../../own.js';
import { readModelText, unusable } from '../failures.js';
import { openWeights } from '../weights.js';
import { readModelYaml } from '../yaml.js';
import type { HeadReader, HeadSource, PublicForm, ReadingOptions } from './form.js';
import { checkedLabels } from './labels.js';

const settingsFile = 'hyperparams.yaml';
const labelsFile = 'label_encoder.txt';
const headFile = 'model.ckpt';

/** What the recipe says of the encoder. */
async function encoderSettings(directory: string): Promise<{ source: string; outputNorm: boolean }> {
  const file = join(directory, settingsFile);
  const settings = await readModelYaml(file);
  const encoder = Object.values(settings).find((value) => isObject(value) && 'output_norm' in value);
  const { output_norm: stated, source = settings.wav2vec2_hub } = isObject(encoder) ? encoder : {};
  // `!ref <name>` is a setting of that name.
  const referred = (value: unknown) => {
    const name = typeof value === 'string' ? /^<(.+)>$/.exec(value)?.[1] : undefined;
    return name === undefined ? value : own(settings, name);
  };
  const outputNorm = referred(stated);
  if (typeof outputNorm !== 'boolean') {
    throw unusable(file)(
      'it does not say whether the output of the encoder is normalised (output_norm: True or False)',
    );
  }
  return { source: textOf(referred(source)) ?? '', outputNorm };
}

/**
 * How it brings waveforms to its encoder: whether it does as that one's own feature extractor says, and then by a LayerNorm over the
 * samples. Of the models that it is used with, WavLM's base sizes alone take waveforms as they are.
 *
 * @param stated what a feature extractor beside the model says, where there is one
 */
export async function normalizationOfSpeechbrain(directory: string, stated?: Normalization): Promise<Normalization> {
  const { source } = await encoderSettings(directory);
  if (stated !== undefined && stated !== true) return stated;
  return stated === undefined && /\bwavlm-base/.test(source) ? false : { epsilon: 1e-5 };
}

/** Gives `read` a checkpoint with the tensors of the head, which speechbrain keeps in another file than the encoder's. */
export async function withSpeechbrainHead<Result>(
  source: HeadSource,
  { head }: ReadingOptions,
  read: (source: HeadSource) => Promise<Result>,
): Promise<Result> {
  if (source.layout !== 'speechbrain' || head === 'none') return read(source);
  const file = join(source.directory, headFile);
  const { tensors, close } = await openWeights(file);
  try {
    return await read({ ...source, file, tensors: [...tensors, ...source.tensors] });
  } finally {
    await close();
  }
}

/** `'neu' => 0`, a line for each label, up to a line of `=`. */
async function readLabels(reader: HeadReader, outputs: number): Promise<string[]> {
  const file = join(reader.source.directory, labelsFile);
  const labels: string[] = [];
  for (const line of (await readModelText(file)).split(/\r?\n/)) {
    if (/^=+$/.test(line)) break;
    if (line.trim() === '') continue;
    const [, , label = '', index = ''] = /^(['"])(.*)\1 => (\d+)$/.exec(line.trim()) ?? [];
    if (label === '' || Number(index) >= outputs) {
      throw unusable(file)(
        `it has the line ${JSON.stringify(line)} where 'LABEL' => INDEX below ${outputs} is expected`,
      );
    }
    labels[Number(index)] = label;
  }
  return checkedLabels(
    reader,
    [...labels].map((label = '') => label),
    outputs,
    labelsFile,
  );
}

const linear = '0.w';

export const speechbrain: PublicForm = {
  form: 'speechbrain',
  title: "a linear layer of speechbrain's (model.ckpt)",
  owns: (name, { layout }) => layout === 'speechbrain' && name.startsWith(`${linear}.`),
  async read(reader) {
    const { shape, directory } = reader.source;
    const outputs = reader.rows(`${linear}.weight`);
    const bias = reader.has(`${linear}.bias`);
    await reader.take(`${linear}.weight`, { name: 'classifier.weight' }, [outputs, shape.hiddenSize]);
    if (bias) await reader.take(`${linear}.bias`, { name: 'classifier.bias' }, [outputs]);
    const { outputNorm } = await encoderSettings(directory);
    return {
      labels: await readLabels(reader, outputs),
      pooling: 'mean',
      layers: { ...(outputNorm && { inputNorm: 'utterance' }), ...(!bias && { bias: false }) },
    };
  },
};
