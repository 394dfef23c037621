// The baselines of the Odyssey 2024 speech emotion challenge (3loi): frames are pooled to mean and standard deviation by weights of
// their own; linear layers, each with LayerNorm and ReLU; a linear layer. The encoder is another model of transformers, of which the
// config names the type, and the waveform is brought to it by a mean and a deviation of the training data.
import { z } from 'zod';
import { EmoframeError } from '../../errors.js';
import { isObject } from '../../files/json.js';
import { describeIssues } from '../../issues.js';
import { describedByShapes, distancesName, type ModelDescription } from '../shapes.js';
import type { HeadReader, PublicForm } from './form.js';
import { areDimensions, checkedLabels, dimensions, labelsOf } from './labels.js';

const schema = z.looseObject({
  mean: z.number(),
  std: z.number().nonnegative(),
  num_attention_heads: z.int().positive().optional(),
  sampling_rate: z.literal(16000).default(16000),
});

/** Whether a config is one of theirs: by its type, or because it has the level of the training data. */
export function isOdyssey(config: Record<string, unknown>): boolean {
  return config.model_type === 'ser' || (typeof config.mean === 'number' && typeof config.std === 'number');
}

/** The config of the encoder where theirs holds it, as a part or among its own fields. */
function statedEncoder(config: Record<string, unknown>, wavlm: boolean): Record<string, unknown> | undefined {
  const part = Object.values(config).find((value) => isObject(value) && 'conv_dim' in value);
  if (isObject(part)) return part;
  if (!('conv_dim' in config)) return undefined;
  return config.model_type === 'ser' ? { ...config, model_type: wavlm ? 'wavlm' : 'hubert' } : config;
}

/**
 * The encoder of such a model. As published its config says little of it: sizes are those of the weights.
 *
 * @throws EmoframeError `ERR_MODEL_CONFIG`
 */
export function describedByOdyssey(
  config: Record<string, unknown>,
  tensors: Parameters<typeof describedByShapes>[0],
  file: string,
  at: string,
): ModelDescription {
  const parsed = schema.safeParse(config);
  if (!parsed.success) {
    throw new EmoframeError('ERR_MODEL_CONFIG', `${at}: ${describeIssues(parsed.error)}.`, { file: at });
  }
  const { mean, std, num_attention_heads: heads } = parsed.data;
  const wavlm = tensors.has(distancesName);
  // A part of a config that is one itself has names of its own.
  const {
    id2label: _,
    label2id: __,
    ...encoder
  } = statedEncoder(config, wavlm) ?? describedByShapes(tensors, file, heads).config;
  return { config: { ...config, ...encoder }, normalize: { mean, scale: 1 / (std + 1e-6) } };
}

/** Outputs of dimensions are values; all else are classes. */
function outputsOf(reader: HeadReader, outputs: number): { labels: string[]; task?: 'regression' } {
  const named = labelsOf(reader.source.config) ?? (outputs === dimensions.length ? [...dimensions] : []);
  const labels = checkedLabels(reader, named, outputs, 'id2label in config.json');
  return areDimensions(labels) ? { labels, task: 'regression' } : { labels };
}

export const odyssey: PublicForm = {
  form: 'odyssey',
  title: 'a head of the Odyssey 2024 baselines (pool_model, ser_model)',
  owns: (name) => /^(?:pool_model|ser_model)\./.test(name),
  async read(reader) {
    const width = reader.source.shape.hiddenSize;
    await reader.linear('pool_model.sap_linear', 'pooling.linear', width, width);
    // Its score vector is a column.
    await reader.take('pool_model.attention', { name: 'pooling.weight', shape: [width] }, [width, 1]);
    const dense = [];
    let input = 2 * width;
    for (let i = 0; i === 0 || reader.has(`ser_model.fc.${i}.0.weight`); i++) {
      const output = reader.rows(`ser_model.fc.${i}.0.weight`);
      await reader.linear(`ser_model.fc.${i}.0`, `dense.${i}`, output, input);
      await reader.take(`ser_model.fc.${i}.1.weight`, { name: `dense.${i}.norm.weight` }, [output]);
      await reader.take(`ser_model.fc.${i}.1.bias`, { name: `dense.${i}.norm.bias` }, [output]);
      dense.push({ width: output, norm: true, activation: 'relu' as const });
      input = output;
    }
    const outputs = reader.rows('ser_model.out.0.weight');
    await reader.linear('ser_model.out.0', 'classifier', outputs, input);
    return { ...outputsOf(reader, outputs), pooling: 'attentive-stats', layers: { dense } };
  },
};
