import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { quoted } from '../quote.js';
import type { HubertShape } from './binding.js';

/** A model's `config.json`: as it was read (and is written back), and what the engine needs of it. */
export interface HubertConfig {
  raw: Record<string, unknown>;
  shape: HubertShape;
}

// The engine's own limits (native/model/shape.cpp), met here where the file can be named.
const largest = 2 ** 20;
const count = z.number().int().positive().max(largest);
/** Below 1 as a float too. */
const probability = z
  .number()
  .min(0)
  .refine((value) => Math.fround(value) < 1, 'Too big: expected number to be <1');
const counts = z.array(count).min(1).max(100);

// Defaults are those of transformers' HubertConfig: a config.json may leave out what equals them.
const schema = z.looseObject({
  model_type: z.string().default('hubert'),
  hidden_size: count.default(768),
  num_hidden_layers: count.max(1000).default(12),
  num_attention_heads: count.default(12),
  intermediate_size: count.default(3072),
  hidden_act: z.string().default('gelu'),
  hidden_dropout: probability.default(0.1),
  activation_dropout: probability.default(0.1),
  attention_dropout: probability.default(0.1),
  feat_proj_layer_norm: z.boolean().default(true),
  feat_proj_dropout: probability.default(0),
  final_dropout: probability.default(0.1),
  layerdrop: z.number().min(0).max(1).default(0.1),
  layer_norm_eps: z.number().min(1e-12).max(1).default(1e-5),
  feat_extract_norm: z.enum(['group', 'layer']).default('group'),
  feat_extract_activation: z.string().default('gelu'),
  conv_dim: counts.default([512, 512, 512, 512, 512, 512, 512]),
  conv_stride: counts.default([5, 2, 2, 2, 2, 2, 2]),
  conv_kernel: counts.default([10, 3, 3, 3, 3, 2, 2]),
  conv_bias: z.boolean().default(false),
  num_conv_pos_embeddings: count.optional(),
  num_conv_pos_embedding_groups: count.default(16),
  conv_pos_batch_norm: z.boolean().default(false),
  // Of WavLM alone.
  num_buckets: count.min(4).default(320),
  max_bucket_distance: count.default(800),
  // Of data2vec alone, whose number of positional convolutions is num_conv_pos_embeddings.
  conv_pos_kernel_size: count.default(19),
  // Of emotion2vec alone, which transformers does not have: this package's own.
  positional_depth: count.max(100).default(5),
  position_bias: z.literal('slopes').default('slopes'),
  extra_tokens: z.number().int().min(0).max(1000).default(10),
  // Of wav2vec 2.0 alone.
  add_adapter: z.boolean().default(false),
  adapter_attn_dim: z.number().nullable().default(null),
  do_stable_layer_norm: z.boolean().default(false),
});

type Config = z.infer<typeof schema>;

/** What each family has, of all that the engine can do. */
const families: Record<string, (config: Config) => Partial<HubertShape>> = {
  hubert: () => ({}),
  wav2vec2: () => ({}),
  wavlm: ({ num_buckets: buckets, max_bucket_distance: reach }) => ({
    positionBias: { kind: 'buckets', buckets, reach },
  }),
  'data2vec-audio': (config) => ({
    groupNorm: false,
    positionalDepth: config.num_conv_pos_embeddings ?? 5,
    positionalKernel: config.conv_pos_kernel_size,
  }),
  emotion2vec: (config) => ({
    positionalDepth: config.positional_depth,
    positionalKernel: config.num_conv_pos_embeddings ?? 19,
    positionBias: { kind: 'slopes' },
    ...(config.extra_tokens > 0 && { extraTokens: config.extra_tokens }),
    // data2vec 2.0 gives its config's to the layers alone.
    featureProjectionEpsilon: 1e-5,
  }),
};

/** Distances and buckets make a matrix in the engine, which is not to be larger. */
const mostMembers = 2 ** 24;

/**
 * Reads transformers' `config.json` of a model of HuBERT, wav2vec 2.0, WavLM or data2vec (audio), or this package's of emotion2vec.
 *
 * @param raw the parsed JSON
 * @param file its path, for messages
 * @throws EmoframeError `ERR_MODEL_CONFIG` naming the field that is wrong or cannot be done
 * @example
 * const config = parseHubertConfig(JSON.parse(await readFile('hubert-base/config.json', 'utf8')));
 */
export function parseHubertConfig(raw: unknown, file?: string): HubertConfig {
  const refuse = (message: string): never => {
    throw new EmoframeError('ERR_MODEL_CONFIG', `${file ?? 'config.json'}: ${message}`, { file });
  };
  const parsed = schema.safeParse(raw);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return refuse(`${issue?.path.join('.') || 'the configuration'}: ${issue?.message}.`);
  }
  const c = parsed.data;
  const family = Object.hasOwn(families, c.model_type) ? families[c.model_type] : undefined;
  if (family === undefined) {
    const supported = Object.keys(families).map((name) => `"${name}"`);
    const last = supported.pop();
    return refuse(`model_type is ${quoted(c.model_type)}, and only ${supported.join(', ')} and ${last} are supported.`);
  }
  for (const field of ['hidden_act', 'feat_extract_activation'] as const)
    if (c[field] !== 'gelu') refuse(`${field} is "${c[field]}", and only "gelu" is supported.`);
  if (c.add_adapter) refuse('add_adapter is true, and convolutions after the encoder are not supported.');
  if (c.adapter_attn_dim !== null) refuse('adapter_attn_dim is set, and adapters in the layers are not supported.');
  if (c.conv_pos_batch_norm) refuse('conv_pos_batch_norm is true, and only weight norm is supported.');
  if (c.hidden_size % c.num_attention_heads !== 0)
    refuse(`hidden_size ${c.hidden_size} is not a multiple of num_attention_heads ${c.num_attention_heads}.`);
  const headSize = c.hidden_size / c.num_attention_heads;
  if (headSize % 8 !== 0)
    refuse(`the head size ${headSize} (hidden_size / num_attention_heads) is not a multiple of 8.`);
  if (c.hidden_size % c.num_conv_pos_embedding_groups !== 0)
    refuse(
      `hidden_size ${c.hidden_size} is not a multiple of num_conv_pos_embedding_groups ${c.num_conv_pos_embedding_groups}.`,
    );
  if (c.conv_dim.length !== c.conv_kernel.length || c.conv_dim.length !== c.conv_stride.length)
    refuse(
      `conv_dim, conv_kernel and conv_stride differ in length (${c.conv_dim.length}, ${c.conv_kernel.length}, ${c.conv_stride.length}).`,
    );
  if (c.model_type === 'wavlm') {
    const { num_buckets: buckets, max_bucket_distance: reach } = c;
    if (reach <= buckets / 4)
      refuse(`max_bucket_distance ${reach} is not more than a quarter of num_buckets ${buckets}.`);
    if (buckets * (2 * reach + 1) > mostMembers)
      refuse(`num_buckets ${buckets} and max_bucket_distance ${reach} are too large together.`);
  }
  const stride = c.conv_stride.reduce((product, step) => product * step, 1);
  if (stride > largest) refuse(`conv_stride multiplies to ${stride} samples a frame, more than ${largest}.`);
  return {
    raw: raw as Record<string, unknown>,
    shape: {
      convDim: c.conv_dim,
      convKernel: c.conv_kernel,
      convStride: c.conv_stride,
      convBias: c.conv_bias,
      groupNorm: c.feat_extract_norm === 'group',
      featureProjectionLayerNorm: c.feat_proj_layer_norm,
      hiddenSize: c.hidden_size,
      layers: c.num_hidden_layers,
      heads: c.num_attention_heads,
      intermediateSize: c.intermediate_size,
      positionalKernel: c.num_conv_pos_embeddings ?? 128,
      positionalGroups: c.num_conv_pos_embedding_groups,
      stableLayerNorm: c.do_stable_layer_norm,
      layerNormEpsilon: c.layer_norm_eps,
      hiddenDropout: c.hidden_dropout,
      attentionDropout: c.attention_dropout,
      activationDropout: c.activation_dropout,
      featureProjectionDropout: c.feat_proj_dropout,
      finalDropout: c.final_dropout,
      layerdrop: c.layerdrop,
      ...family(c),
    },
  };
}
