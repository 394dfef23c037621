// emotion2vec and emotion2vec+ as FunASR publishes them: `model.pt`, a config of data2vec 2.0 as YAML, and the labels, a line each. The
// mean over frames, then a linear layer.
import { join } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../../errors.js';
import { fileExists } from '../../files/read.js';
import { describeIssues } from '../../issues.js';
import { elementsOf } from '../../model/tensor.js';
import { readModelText } from '../failures.js';
import { parseConvolutions } from '../foreign/fairseq.js';
import type { ModelDescription } from '../shapes.js';
import { readModelYaml } from '../yaml.js';
import type { HeadReader, PublicForm } from './form.js';
import { checkedLabels } from './labels.js';

export const settingsFile = 'config.yaml';
const labelsFile = 'tokens.txt';

const probability = z.number().min(0).max(1).default(0);
const count = z.int().positive();

/** What of data2vec's config makes the model. Where only one value can be done, it is the literal one. */
const schema = z.looseObject({
  depth: count,
  num_heads: count,
  norm_eps: z.number().positive().default(1e-5),
  norm_affine: z.literal(true).default(true),
  encoder_dropout: probability,
  post_mlp_drop: probability,
  attention_dropout: probability,
  activation_dropout: probability,
  layerdrop: probability,
  embed_dim: count,
  mlp_ratio: z.number().positive().default(4),
  layer_norm_first: z.literal(false).default(false),
  normalize: z.boolean().default(true),
  modalities: z.looseObject({
    audio: z.looseObject({
      prenet_depth: z.int().nonnegative(),
      num_extra_tokens: z.int().nonnegative(),
      use_alibi_encoder: z.literal(true),
      learned_alibi: z.literal(false).default(false),
      learned_alibi_scale_per_head: z.literal(true),
      learned_alibi_scale_per_layer: z.literal(false).default(false),
      extractor_mode: z.literal('layer_norm'),
      feature_encoder_spec: z.string(),
      conv_pos_width: count,
      conv_pos_groups: count,
      conv_pos_depth: count,
      conv_pos_pre_ln: z.literal(false).default(false),
    }),
  }),
});

/**
 * The encoder that its config describes, in transformers' terms.
 *
 * @throws EmoframeError `ERR_MODEL_CONFIG` naming the field, `ERR_CHECKPOINT`, `ERR_FILE_NOT_FOUND`, `ERR_READ`
 */
export async function describedByEmotion2vec(directory: string): Promise<ModelDescription> {
  const file = join(directory, settingsFile);
  const refuse = (what: string) => new EmoframeError('ERR_MODEL_CONFIG', `${file}: ${what}.`, { file });
  const { model_conf: conf } = await readModelYaml(file);
  const parsed = schema.safeParse(conf);
  if (!parsed.success) throw refuse(`model_conf: ${describeIssues(parsed.error)}`);
  const { modalities, ...model } = parsed.data;
  const { audio } = modalities;
  const convolutions = parseConvolutions(audio.feature_encoder_spec);
  if (convolutions === undefined) {
    throw refuse(
      `feature_encoder_spec is ${audio.feature_encoder_spec}, which is not a list of (channels, kernel, stride)`,
    );
  }
  const config = {
    model_type: 'emotion2vec',
    hidden_size: model.embed_dim,
    num_hidden_layers: audio.prenet_depth + model.depth,
    num_attention_heads: model.num_heads,
    intermediate_size: Math.floor(model.embed_dim * model.mlp_ratio),
    layer_norm_eps: model.norm_eps,
    hidden_dropout: model.encoder_dropout,
    attention_dropout: model.attention_dropout,
    activation_dropout: model.activation_dropout,
    layerdrop: model.layerdrop,
    feat_extract_norm: 'layer',
    conv_bias: false,
    conv_dim: convolutions.map(([channels]) => channels),
    conv_kernel: convolutions.map(([, kernel]) => kernel),
    conv_stride: convolutions.map(([, , stride]) => stride),
    num_conv_pos_embeddings: Math.max(3, Math.floor(audio.conv_pos_width / audio.conv_pos_depth)),
    num_conv_pos_embedding_groups: audio.conv_pos_groups,
    positional_depth: audio.conv_pos_depth,
    extra_tokens: audio.num_extra_tokens,
    position_bias: 'slopes',
    do_stable_layer_norm: false,
  };
  // The waveform goes through a LayerNorm.
  return { config, normalize: model.normalize && { epsilon: 1e-5 } };
}

/** A line for each output. */
async function readLabels({ source }: HeadReader): Promise<string[] | undefined> {
  const file = join(source.directory, labelsFile);
  if (!(await fileExists(file))) return undefined;
  const lines = (await readModelText(file)).split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '');
}

export const emotion2vec: PublicForm = {
  form: 'emotion2vec',
  title: "emotion2vec's linear layer (proj)",
  owns: (name, { layout }) => layout === 'emotion2vec' && /^proj\.(?:weight|bias)$/.test(name),
  async read(reader) {
    const width = reader.source.shape.hiddenSize;
    const outputs = reader.rows('proj.weight');
    const labels = await readLabels(reader);
    if (labels === undefined)
      throw reader.refuse(`${labelsFile}, which names its ${outputs} outputs, is not beside it`);
    if (labels.length !== outputs) checkedLabels(reader, labels, outputs, labelsFile);
    await reader.linear('proj', 'classifier', outputs, width);
    // Outputs without a class are called `unuse…`, and FunASR gives them no probability.
    const used = labels.flatMap((label, i) => (label.startsWith('unuse') ? [] : [i]));
    for (const tensor of reader.tensors) {
      const row = elementsOf(tensor) / outputs;
      const rows = used.map((i) => tensor.data.subarray(i * row, (i + 1) * row));
      tensor.shape = [used.length, ...tensor.shape.slice(1)];
      tensor.data = Float32Array.from(rows.flatMap((values) => [...values]));
    }
    return {
      labels: checkedLabels(
        reader,
        used.map((i) => labels[i]!),
        used.length,
        labelsFile,
      ),
      pooling: 'mean',
    };
  },
};
