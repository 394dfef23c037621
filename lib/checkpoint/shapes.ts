// What config.json promises of the weights, compared with the weights before a model is made of them: a wrong config would
// otherwise ask for any amount of memory.
import { EmoframeError } from '../errors.js';
import type { HubertShape } from '../model/binding.js';
import { elementsOf } from '../model/tensor.js';

/** Names and shapes of HuBERT's tensors, as transformers has them. */
export function* encoderShapes(shape: HubertShape): Generator<[name: string, shape: number[]]> {
  const { convDim, convKernel, hiddenSize: hidden, intermediateSize: inner, positionalKernel: kernel } = shape;
  const last = convDim.at(-1)!;
  const vectors = function* (name: string, size: number): Generator<[string, number[]]> {
    yield [`${name}.weight`, [size]];
    yield [`${name}.bias`, [size]];
  };
  const linear = function* (name: string, output: number, input: number): Generator<[string, number[]]> {
    yield [`${name}.weight`, [output, input]];
    yield [`${name}.bias`, [output]];
  };
  yield ['masked_spec_embed', [hidden]];
  for (const [i, output] of convDim.entries()) {
    const name = `feature_extractor.conv_layers.${i}`;
    yield [`${name}.conv.weight`, [output, i === 0 ? 1 : convDim[i - 1]!, convKernel[i]!]];
    if (shape.convBias) yield [`${name}.conv.bias`, [output]];
    if (!shape.groupNorm || i === 0) yield* vectors(`${name}.layer_norm`, output);
  }
  if (shape.featureProjectionLayerNorm) yield* vectors('feature_projection.layer_norm', last);
  yield* linear('feature_projection.projection', hidden, last);
  const positional = 'encoder.pos_conv_embed.conv';
  yield [`${positional}.bias`, [hidden]];
  yield [`${positional}.parametrizations.weight.original0`, [1, 1, kernel]];
  yield [`${positional}.parametrizations.weight.original1`, [hidden, hidden / shape.positionalGroups, kernel]];
  yield* vectors('encoder.layer_norm', hidden);
  for (let i = 0; i < shape.layers; i++) {
    const name = `encoder.layers.${i}`;
    for (const part of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
      yield* linear(`${name}.attention.${part}`, hidden, hidden);
    yield* vectors(`${name}.layer_norm`, hidden);
    yield* linear(`${name}.feed_forward.intermediate_dense`, inner, hidden);
    yield* linear(`${name}.feed_forward.output_dense`, hidden, inner);
    yield* vectors(`${name}.final_layer_norm`, hidden);
  }
}

/**
 * Refuses weights that are not of the shapes that the config gives, and a config that describes far more weights than the
 * file holds; which tensors may be missing is for `Model.importTensors` to say. Errors: `ERR_TENSOR`.
 */
export function checkShapes(shape: HubertShape, tensors: ReadonlyMap<string, { shape: number[] }>, file: string): void {
  let described = 0;
  for (const [name, wanted] of encoderShapes(shape)) {
    described += elementsOf({ shape: wanted });
    const found = tensors.get(name)?.shape;
    if (found === undefined || found.join() === wanted.join()) continue;
    throw new EmoframeError(
      'ERR_TENSOR',
      `Tensor ${name} in ${file} has shape [${found.join(', ')}] where its config.json asks for [${wanted.join(', ')}]: the two are not of one model.`,
      { file, tensor: name },
    );
  }
  let held = 0;
  for (const tensor of tensors.values()) held += elementsOf(tensor);
  // A model saved in parts, or one weight short, is told by the weight's name later; this is about orders of magnitude.
  if (described > 1_000_000 + 4 * held) {
    throw new EmoframeError(
      'ERR_TENSOR',
      `${file} holds ${held} weights where its config.json describes ${described}: the two are not of one model.`,
      { file },
    );
  }
}
