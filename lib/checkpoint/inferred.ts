// What the weights themselves tell of a model whose file says nothing else: a bare state dict of torchaudio or of Lightning.
import { EmoframeError } from '../errors.js';
import type { ModelDescription } from './weights.js';

/** Of hidden states so wide, every published HuBERT and wav2vec 2.0 (base, large, xlarge) has so many attention heads. */
const headsOfWidth = new Map([
  [768, 12],
  [1024, 16],
  [1280, 16],
]);

/** Strides leave no trace in weights; with these kernels they are always these. */
const kernels = '10,3,3,3,3,2,2';
const strides = [5, 2, 2, 2, 2, 2, 2];

/**
 * A model's config from its tensors' names (transformers') and shapes.
 *
 * @throws EmoframeError `ERR_MODEL_CONFIG` when they do not decide it; the message asks for a config.json
 */
export function describedByShapes(
  tensors: ReadonlyMap<string, { shape: readonly number[] }>,
  file: string,
): ModelDescription {
  const undecided = (what: string) =>
    new EmoframeError(
      'ERR_MODEL_CONFIG',
      `${file} does not say what model it holds, and ${what}; put its config.json beside it.`,
      { file },
    );
  const shapeOf = (name: string): readonly number[] => {
    const found = tensors.get(name)?.shape;
    if (found === undefined) throw undecided(`tensor ${name}, which would tell, is missing`);
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
  const heads = headsOfWidth.get(hidden);
  if (heads === undefined) throw undecided(`the number of heads of a model of width ${hidden} is not known`);
  let layers = 0;
  while (tensors.has(`encoder.layers.${layers}.layer_norm.weight`)) layers++;
  const layerNorm = tensors.has('feature_extractor.conv_layers.1.layer_norm.weight');
  const config = {
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
    // Of all published models, those with LayerNorm in their convolutions, and no others, normalise before each block and hear
    // normalised audio.
    do_stable_layer_norm: layerNorm,
  };
  return { config, normalize: layerNorm };
}
