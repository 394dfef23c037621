// The shapes of HuBERT's tensors: those that a config describes, and the config that they describe where a file has no other, as
// a bare state dict of torchaudio or of Lightning.
import type { Normalization } from '../audio/normalize.js';
import { EmoframeError } from '../errors.js';
import type { HubertShape } from '../model/binding.js';
import { elementsOf } from '../model/tensor.js';

/** Names and shapes of HuBERT's tensors, as transformers has them. */
export function* encoderShapes(shape: HubertShape): Generator<[name: string, shape: number[]]> {
  const { convDim, convKernel, hiddenSize: hidden, intermediateSize: inner, positionalKernel: kernel } = shape;
  const vectors = function* (name: string, size: number): Generator<[string, number[]]> {
    yield [`${name}.weight`, [size]];
    yield [`${name}.bias`, [size]];
  };
  const linear = function* (name: string, output: number, input: number): Generator<[string, number[]]> {
    yield [`${name}.weight`, [output, input]];
    yield [`${name}.bias`, [output]];
  };
  yield ['masked_spec_embed', [hidden]];
  let channels = 1;
  for (const [i, output] of convDim.entries()) {
    const name = `feature_extractor.conv_layers.${i}`;
    yield [`${name}.conv.weight`, [output, channels, convKernel[i]!]];
    channels = output;
    if (shape.convBias) yield [`${name}.conv.bias`, [output]];
    if (!shape.groupNorm || i === 0) yield* vectors(`${name}.layer_norm`, output);
  }
  if (shape.featureProjectionLayerNorm) yield* vectors('feature_projection.layer_norm', channels);
  yield* linear('feature_projection.projection', hidden, channels);
  const taps = [hidden, hidden / shape.positionalGroups, kernel];
  if (shape.positionalDepth === undefined) {
    const positional = 'encoder.pos_conv_embed.conv';
    yield [`${positional}.bias`, [hidden]];
    yield [`${positional}.parametrizations.weight.original0`, [1, 1, kernel]];
    yield [`${positional}.parametrizations.weight.original1`, taps];
  }
  for (let i = 0; i < (shape.positionalDepth ?? 0); i++) {
    yield [`encoder.pos_conv_embed.layers.${i}.conv.weight`, taps];
    yield [`encoder.pos_conv_embed.layers.${i}.conv.bias`, [hidden]];
  }
  if (shape.extraTokens !== undefined) yield ['encoder.extra_tokens', [shape.extraTokens, hidden]];
  const bias = shape.layers > 0 ? shape.positionBias : undefined;
  if (bias?.kind === 'slopes') yield ['encoder.alibi_scale', [shape.heads]];
  if (bias?.kind === 'buckets') {
    yield ['encoder.layers.0.attention.rel_attn_embed.weight', [bias.buckets, shape.heads]];
  }
  yield* vectors('encoder.layer_norm', hidden);
  for (let i = 0; i < shape.layers; i++) {
    const name = `encoder.layers.${i}`;
    for (const part of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
      yield* linear(`${name}.attention.${part}`, hidden, hidden);
    if (bias?.kind === 'buckets') {
      yield* linear(`${name}.attention.gru_rel_pos_linear`, 8, hidden / shape.heads);
      yield [`${name}.attention.gru_rel_pos_const`, [1, shape.heads, 1, 1]];
    }
    yield* vectors(`${name}.layer_norm`, hidden);
    yield* linear(`${name}.feed_forward.intermediate_dense`, inner, hidden);
    yield* linear(`${name}.feed_forward.output_dense`, hidden, inner);
    yield* vectors(`${name}.final_layer_norm`, hidden);
  }
}

/**
 * Refuses weights that are not of the names and shapes that the config gives, and a config that describes far more weights than the
 * file holds; which tensors may be missing is for `Model.importTensors` to say. Errors: `ERR_TENSOR`.
 */
export function checkShapes(shape: HubertShape, tensors: ReadonlyMap<string, { shape: number[] }>, file: string): void {
  let described = 0;
  const unknown = new Set(tensors.keys());
  for (const [name, wanted] of encoderShapes(shape)) {
    unknown.delete(name);
    described += elementsOf({ shape: wanted });
    const found = tensors.get(name)?.shape;
    if (found === undefined || found.join() === wanted.join()) continue;
    throw new EmoframeError(
      'ERR_TENSOR',
      `Tensor ${name} in ${file} has shape [${found.join(', ')}] where its config.json asks for [${wanted.join(', ')}]: they do not belong together.`,
      { file, tensor: name },
    );
  }
  // Of another family, such as the bias of positions of WavLM; left out, the model would be another than it was.
  for (const name of unknown) {
    throw new EmoframeError(
      'ERR_TENSOR',
      `Tensor ${name} in ${file} is of the encoder, but not of the one that its config describes: they do not belong together.`,
      { file, tensor: name },
    );
  }
  let held = 0;
  for (const tensor of tensors.values()) held += elementsOf(tensor);
  // Importing the weights names those that are missing; this is about orders of magnitude.
  if (described > 1_000_000 + 4 * held) {
    throw new EmoframeError(
      'ERR_TENSOR',
      `${file} holds ${held} weights where its config.json describes ${described}: they do not belong together.`,
      { file },
    );
  }
}

/** A model as its file, or the shapes of its weights, describe it. */
export interface ModelDescription {
  /** As in a `config.json` of transformers. */
  config: Record<string, unknown>;
  normalize: Normalization;
}

/** Of hidden states so wide, every published HuBERT and wav2vec 2.0 (base, large, xlarge) has so many attention heads. */
const headsOfWidth = new Map([
  [768, 12],
  [1024, 16],
  [1280, 16],
]);

/** WavLM's values of distances, for each of its heads. */
export const distancesName = 'encoder.layers.0.attention.rel_attn_embed.weight';

/** Strides cannot be seen in weights; with these kernels they are always the following. */
const kernels = '10,3,3,3,3,2,2';
const strides = [5, 2, 2, 2, 2, 2, 2];

/**
 * A model's config from its tensors' names (transformers') and shapes.
 *
 * @param stated the number of attention heads, where something else than the shapes says it
 * @throws EmoframeError `ERR_MODEL_CONFIG` when it does not follow from them; the message asks for a config.json
 */
export function describedByShapes(
  tensors: ReadonlyMap<string, { shape: readonly number[] }>,
  file: string,
  stated?: number,
): ModelDescription {
  const undecided = (what: string) =>
    new EmoframeError(
      'ERR_MODEL_CONFIG',
      `${file} does not say what model it holds, and ${what}; put the model's config.json beside it.`,
      { file },
    );
  const shapeOf = (name: string): readonly number[] => {
    const found = tensors.get(name)?.shape;
    if (found === undefined) throw undecided(`tensor ${name}, from whose shape it would follow, is missing`);
    return found;
  };
  const convolution = (layer: number) => `feature_extractor.conv_layers.${layer}.conv.weight`;
  const convolutions: (readonly number[])[] = [shapeOf(convolution(0))];
  for (
    let shape = tensors.get(convolution(1));
    shape !== undefined;
    shape = tensors.get(convolution(convolutions.length))
  ) {
    convolutions.push(shape.shape);
  }
  const convKernel = convolutions.map(([, , kernel]) => kernel);
  if (convKernel.join() !== kernels) {
    throw undecided(`its convolutions have kernels ${convKernel.join(', ')}, whose strides are not known`);
  }
  const [hidden = 0, groupWidth = 0, positionalKernel] = shapeOf(
    'encoder.pos_conv_embed.conv.parametrizations.weight.original1',
  );
  const distances = tensors.get(distancesName)?.shape;
  const heads = distances?.[1] ?? stated ?? headsOfWidth.get(hidden);
  if (heads === undefined) throw undecided(`the number of heads of a model of width ${hidden} is not known`);
  let layers = 0;
  while (tensors.has(`encoder.layers.${layers}.layer_norm.weight`)) layers++;
  const layerNorm = tensors.has('feature_extractor.conv_layers.1.layer_norm.weight');
  const config = {
    ...(distances !== undefined && { model_type: 'wavlm', num_buckets: distances[0] }),
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    intermediate_size: shapeOf('encoder.layers.0.feed_forward.intermediate_dense.weight')[0],
    conv_dim: convolutions.map(([channels]) => channels),
    conv_kernel: convKernel,
    conv_stride: strides,
    conv_bias: tensors.has('feature_extractor.conv_layers.0.conv.bias'),
    feat_extract_norm: layerNorm ? 'layer' : 'group',
    feat_proj_layer_norm: tensors.has('feature_projection.layer_norm.weight'),
    num_conv_pos_embeddings: positionalKernel,
    num_conv_pos_embedding_groups: hidden / groupWidth,
    // Of all published models, those with LayerNorm in their convolutions, and no others, normalise before each block and take
    // normalised audio.
    do_stable_layer_norm: layerNorm,
  };
  return { config, normalize: layerNorm };
}
