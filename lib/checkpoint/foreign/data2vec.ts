// The config of data2vec 2.0 on audio, of which emotion2vec is one: as YAML of FunASR's, or in a checkpoint of fairseq's.
import { z } from 'zod';
import type { EmoframeError } from '../../errors.js';
import { describeIssues } from '../../issues.js';
import type { ModelDescription } from '../shapes.js';
import { parseConvolutions } from './convolutions.js';

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
 * The encoder that a config describes, in transformers' terms.
 *
 * @param normalize whether waveforms go through a LayerNorm, where another part of the config says it
 * @param refuse makes the error of a config that cannot be done, from what it has
 */
export function describedByData2vec(
  fields: unknown,
  normalize: boolean | undefined,
  refuse: (what: string) => EmoframeError,
): ModelDescription {
  const parsed = schema.safeParse(fields);
  if (!parsed.success) throw refuse(`is of no model that can be done: ${describeIssues(parsed.error)}`);
  const { modalities, ...model } = parsed.data;
  const { audio } = modalities;
  const convolutions = parseConvolutions(audio.feature_encoder_spec);
  if (convolutions === undefined) {
    throw refuse(
      `has feature_encoder_spec ${audio.feature_encoder_spec}, which is not a list of (channels, kernel, stride)`,
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
  return { config, normalize: (normalize ?? model.normalize) && { epsilon: 1e-5 } };
}
