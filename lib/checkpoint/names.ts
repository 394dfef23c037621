// Tensors have one set of names in this package, those of today's transformers, whatever program saved the checkpoint.
import { EmoframeError } from '../errors.js';
import type { StoredTensor } from '../model/tensor.js';
import { emotion2vecAnchor, emotion2vecTensors } from './foreign/emotion2vec.js';

const roots = ['feature_extractor.', 'feature_projection.', 'encoder.'];

/** Whether a tensor belongs to the encoder (by transformers' name, without prefix) and not to a head. */
export function isEncoderName(name: string): boolean {
  return name === 'masked_spec_embed' || roots.some((root) => name.startsWith(root));
}

/** PyTorch's old and new weight norm keep the same two tensors: the magnitude g and the direction v. */
function withoutOldWeightNorm(name: string): string {
  return name
    .replace(/\.weight_g$/, '.parametrizations.weight.original0')
    .replace(/\.weight_v$/, '.parametrizations.weight.original1');
}

/** Who named a checkpoint's tensors. */
interface Family {
  /** A tensor that every model of theirs has. The prefix that it has here is that of all names of the encoder. */
  anchor: string;
  /** Names without that prefix, and transformers' for them; the first pattern that matches is used. */
  renames: readonly (readonly [pattern: RegExp, replacement: string])[];
  /** The mask embedding, where it is kept beside the encoder and lacks the prefix. */
  maskEmbedding?: string;
}

/** The most specific first: torchaudio names its convolutions as transformers does. */
const families: readonly Family[] = [
  {
    // fairseq, and s3prl's conversions of it
    anchor: 'feature_extractor.conv_layers.0.0.weight',
    renames: [
      [/^(feature_extractor\.conv_layers\.\d+)\.0\./, '$1.conv.'],
      [/^(feature_extractor\.conv_layers\.\d+)\.2\.(?:1\.)?/, '$1.layer_norm.'],
      [/^layer_norm\./, 'feature_projection.layer_norm.'],
      [/^post_extract_proj\./, 'feature_projection.projection.'],
      [/^mask_emb$/, 'masked_spec_embed'],
      [/^encoder\.pos_conv\.0\./, 'encoder.pos_conv_embed.conv.'],
      // Microsoft's WavLM
      [/^(encoder\.layers\.\d+)\.self_attn\.relative_attention_bias\./, '$1.attention.rel_attn_embed.'],
      [/^(encoder\.layers\.\d+)\.self_attn\.grep_linear\./, '$1.attention.gru_rel_pos_linear.'],
      [/^(encoder\.layers\.\d+)\.self_attn\.grep_a$/, '$1.attention.gru_rel_pos_const'],
      [/^(encoder\.layers\.\d+)\.self_attn\./, '$1.attention.'],
      [/^(encoder\.layers\.\d+)\.self_attn_layer_norm\./, '$1.layer_norm.'],
      [/^(encoder\.layers\.\d+)\.fc1\./, '$1.feed_forward.intermediate_dense.'],
      [/^(encoder\.layers\.\d+)\.fc2\./, '$1.feed_forward.output_dense.'],
    ],
  },
  {
    // torchaudio's Wav2Vec2Model, and its HuBERTPretrainModel, which has one in it
    anchor: 'encoder.feature_projection.projection.weight',
    renames: [
      [/^encoder\.feature_projection\./, 'feature_projection.'],
      [/^encoder\.transformer\./, 'encoder.'],
    ],
    maskEmbedding: 'mask_generator.mask_embedding',
  },
  { anchor: 'feature_extractor.conv_layers.0.conv.weight', renames: [] },
];

/** The prefix of transformers' names in models built on the encoder, for files without a family's anchor. */
const usualPrefix = /^(?:hubert|wav2vec2|wavlm|data2vec_audio)\./;

/** How the names of a checkpoint become transformers'; undefined for what is not of the encoder. */
function renamer(names: readonly string[]): (name: string) => string | undefined {
  for (const { anchor, renames, maskEmbedding } of families) {
    const found = names.find((name) => name === anchor || name.endsWith(`.${anchor}`));
    if (found === undefined) continue;
    const prefix = found.slice(0, -anchor.length);
    return (name) => {
      if (name === maskEmbedding) return 'masked_spec_embed';
      if (!name.startsWith(prefix)) return undefined;
      const own = name.slice(prefix.length);
      const rename = renames.find(([pattern]) => pattern.test(own));
      return rename === undefined ? own : own.replace(...rename);
    };
  }
  return (name) => name.replace(usualPrefix, '');
}

/**
 * The encoder of a checkpoint under transformers' names, whoever named it: transformers (HuBERT, wav2vec 2.0, WavLM, data2vec, and
 * any model built on them), fairseq, Microsoft, torchaudio; FunASR's emotion2vec, whose tensors are reshaped as well. The old names of
 * weight norm are replaced. Other tensors (`lm_head`, `quantizer`, `classifier`) are `ignored`, by their names in the checkpoint.
 *
 * Errors: `ERR_CHECKPOINT` when two tensors would get the same name, or none is of an encoder.
 */
export function normalizeNames(
  tensors: Iterable<StoredTensor>,
  file: string,
): { tensors: Map<string, StoredTensor>; ignored: string[] } {
  const all = [...tensors];
  if (all.some(({ name }) => name.endsWith(emotion2vecAnchor))) return emotion2vecTensors(all);
  const rename = renamer(all.map(({ name }) => name));
  const found = new Map<string, StoredTensor>();
  const ignored: string[] = [];
  for (const tensor of all) {
    const renamed = rename(tensor.name);
    const name = renamed === undefined ? undefined : withoutOldWeightNorm(renamed);
    if (name === undefined || !isEncoderName(name)) {
      ignored.push(tensor.name);
      continue;
    }
    if (found.has(name)) {
      throw new EmoframeError('ERR_CHECKPOINT', `${file} holds tensor ${name} twice, under different names.`, {
        file,
        tensor: name,
      });
    }
    found.set(name, { ...tensor, name });
  }
  if (found.size === 0) {
    const held = ignored.length === 0 ? 'no tensors' : `only others, such as ${ignored[0]}`;
    throw new EmoframeError(
      'ERR_CHECKPOINT',
      `${file} holds no weights of an encoder under the names of transformers, fairseq, torchaudio or FunASR but ${held}; convert it to a transformers checkpoint.`,
      { file },
    );
  }
  return { tensors: found, ignored };
}

/**
 * All tensors of a model, split into the HuBERT encoder's and the heads'.
 *
 * @example
 * const { encoder, head } = splitTensors(await model.exportTensors());
 */
export function splitTensors<Named extends { name: string }>(
  tensors: Iterable<Named>,
): { encoder: Named[]; head: Named[] } {
  const encoder: Named[] = [];
  const head: Named[] = [];
  for (const tensor of tensors) (isEncoderName(tensor.name) ? encoder : head).push(tensor);
  return { encoder, head };
}
