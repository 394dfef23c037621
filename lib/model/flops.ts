// How many floating-point operations of the model a step of training takes: what a rate of them is computed from, and so the
// share of a device that training uses (as PaLM's authors count them: Chowdhery et al. 2022, appendix B).
import type { ClassifierOptions, TrainStepOptions } from './binding.js';
import { frameWidth, pooledWidth } from './classifier.js';
import type { ModelSpec } from './model.js';

/** What the operations of a pass follow from, besides the model. */
export interface CountedPass extends Pick<TrainStepOptions, 'objective' | 'dropout' | 'mask'> {
  /** Frames of each utterance. */
  lengths: readonly number[];
  /** Whether the output of the convolutions was stored, so that they are not run. */
  stored: boolean;
  /** Whether a tensor whose name begins so is trained. */
  trains(prefix: string): boolean;
}

/**
 * Floating-point operations of a pass forward and backward, two for each multiplication of a product that the model is defined
 * by: convolutions, linear layers, attention (of each utterance: 4 T² C a layer), the heads.
 *
 * A product of x and a weight is made once forward, once for the weight's gradient if it is trained, and once for x's if
 * anything before it is: three times where all is trained, which makes the 6 N T of N weights and T frames. Products that are
 * made again in the backward pass do not count, nor does what is no product (norms, softmax, pooling, losses, the optimiser).
 * Layers count by the share of passes in which layerdrop keeps them.
 *
 * @example
 * // HuBERT-base on 10 s, with the convolutions frozen and their output stored: 0.30 TFLOP
 * trainingFlops(model.spec, { objective: 'classification', dropout: false, lengths: [499], stored: true, trains });
 */
export function trainingFlops(spec: ModelSpec, pass: CountedPass): number {
  const { alignment } = spec;
  const aligned = pass.objective === 'alignment' && alignment !== undefined;
  // The weighted sum of states passes no gradient on.
  const cut = aligned && alignment.source === 'layers';
  const count = new Count((prefix) => (!cut || prefix.startsWith('alignment.')) && pass.trains(prefix));
  const frames = sum(pass.lengths);
  if (!pass.stored) countConvolutions(count, spec, pass.lengths);
  if (aligned) {
    if (alignment.source !== 'features') {
      const depth = alignment.layer === 'output' ? spec.config.shape.layers : alignment.layer;
      // What is not trained is run as it is in inference.
      const dropping = pass.dropout && ['feature_', 'encoder.'].some((prefix) => count.trains(prefix));
      countTransformer(count, spec, frames, chunkLengths(pass.lengths, alignment), { depth, dropping });
    }
    countAlignment(count, spec, frames);
    return count.flops;
  }
  const { layers, hiddenSize } = spec.config.shape;
  const { dropout: dropping, mask } = pass;
  countTransformer(count, spec, frames, pass.lengths, { depth: layers, dropping, masking: mask !== undefined });
  const { maskedPrediction, classifier } = spec;
  if (pass.objective === 'masked-prediction' && maskedPrediction !== undefined) {
    const { clusters, dimension = 256 } = maskedPrediction;
    const masked = mask?.reduce((total, value) => total + Number(value !== 0), 0) ?? 0;
    count.linear(['final_proj.'], 2 * masked * hiddenSize * dimension);
    count.linear(['label_embs_concat'], 2 * masked * dimension * clusters);
  } else if (classifier !== undefined) {
    countClassifier(count, classifier, hiddenSize, pass.lengths);
  }
  return count.flops;
}

/** Goes through a model from its input on, and knows whether anything on the way so far is trained. */
class Count {
  flops = 0;
  #below = false;

  constructor(readonly trains: (prefix: string) => boolean) {}

  /** Products of one x with each of some weights. */
  linear(weights: readonly string[], flops: number): void {
    this.products(weights.map((weight) => [weight, flops]));
  }

  /** The same, of products that differ in size. */
  products(weights: readonly (readonly [weight: string, flops: number])[]): void {
    for (const [weight, flops] of weights)
      this.flops += flops * (1 + Number(this.trains(weight)) + Number(this.#below));
    for (const [weight] of weights) this.parameters(weight);
  }

  /** A product of two activations, both of which need a gradient or none. */
  activations(flops: number): void {
    this.flops += flops * (this.#below ? 3 : 1);
  }

  /** Weights of no product. */
  parameters(prefix: string): void {
    this.#below ||= this.trains(prefix);
  }
}

function countConvolutions(count: Count, { config }: ModelSpec, lengths: readonly number[]): void {
  const { convDim, convKernel, convStride } = config.shape;
  // Outputs of each layer that the frames follow from.
  const rows: number[] = [];
  let needed = lengths;
  for (let i = convDim.length - 1; i >= 0; i--) {
    rows[i] = sum(needed);
    needed = needed.map((length) => (length - 1) * convStride[i]! + convKernel[i]!);
  }
  for (const [i, channels] of convDim.entries()) {
    const layer = `feature_extractor.conv_layers.${i}.`;
    count.linear([`${layer}conv.`], 2 * rows[i]! * channels * convKernel[i]! * (convDim[i - 1] ?? 1));
    count.parameters(`${layer}layer_norm.`);
  }
}

/** The projection of all frames, and the first `depth` layers over rows of these lengths. */
function countTransformer(
  count: Count,
  { config }: ModelSpec,
  frames: number,
  lengths: readonly number[],
  { depth, dropping, masking = false }: { depth: number; dropping: boolean; masking?: boolean },
): void {
  const { shape } = config;
  const { hiddenSize, intermediateSize, stableLayerNorm: preNorm, extraTokens = 0, positionalDepth } = shape;
  count.parameters('feature_projection.layer_norm.');
  count.linear(['feature_projection.projection.'], 2 * frames * shape.convDim.at(-1)! * hiddenSize);
  if (masking) count.parameters('masked_spec_embed');
  const group = hiddenSize / shape.positionalGroups;
  const positional = 2 * sum(lengths) * hiddenSize * group * shape.positionalKernel;
  if (positionalDepth === undefined) count.linear(['encoder.pos_conv_embed.'], positional);
  for (let i = 0; i < (positionalDepth ?? 0); i++) {
    count.linear([`encoder.pos_conv_embed.layers.${i}.`], positional);
  }
  if (extraTokens > 0) count.parameters('encoder.extra_tokens');
  const widths = lengths.map((length) => length + extraTokens);
  const rows = sum(widths);
  if (!preNorm) count.parameters('encoder.layer_norm.');
  const kept = dropping ? 1 - shape.layerdrop : 1;
  const square = 2 * kept * rows * hiddenSize ** 2;
  const feedForward = 2 * kept * rows * hiddenSize * intermediateSize;
  // q kᵀ and its softmax with v, of all heads together.
  const attention = 4 * kept * hiddenSize * sum(widths.map((length) => length ** 2));
  for (let i = 0; i < depth; i++) {
    const layer = `encoder.layers.${i}.`;
    const norm = (name: string, before: boolean) => before === preNorm && count.parameters(`${layer}${name}.`);
    norm('layer_norm', true);
    const inputs: [string, number][] = ['q', 'k', 'v'].map((name) => [`${layer}attention.${name}_proj.`, square]);
    if (shape.positionBias?.kind === 'buckets') {
      inputs.push([`${layer}attention.gru_rel_pos_linear.`, 16 * kept * rows * hiddenSize]);
    }
    count.products(inputs);
    count.activations(attention);
    count.linear([`${layer}attention.out_proj.`], square);
    norm('layer_norm', false);
    norm('final_layer_norm', true);
    count.linear([`${layer}feed_forward.intermediate_dense.`], feedForward);
    count.linear([`${layer}feed_forward.output_dense.`], feedForward);
    norm('final_layer_norm', false);
  }
  if (preNorm) count.parameters('encoder.layer_norm.');
}

function countClassifier(
  count: Count,
  classifier: ClassifierOptions,
  hiddenSize: number,
  lengths: readonly number[],
): void {
  const { source, projector, pooling, dense = [], classes } = classifier;
  const frames = sum(lengths);
  const width = frameWidth(classifier, hiddenSize);
  if (source === 'layers') count.parameters('layer_weights');
  if (projector !== undefined) count.linear(['projector.'], 2 * frames * hiddenSize * width);
  if (pooling === 'attentive-stats') count.linear(['pooling.linear.'], 2 * frames * width ** 2);
  count.parameters('pooling.');
  let inputs = pooledWidth(classifier, hiddenSize);
  for (const [i, layer] of dense.entries()) {
    count.linear([`dense.${i}.`], 2 * lengths.length * inputs * layer.width);
    inputs = layer.width;
  }
  count.linear(['classifier.'], 2 * lengths.length * inputs * classes);
}

function countAlignment(count: Count, { alignment, config }: ModelSpec, frames: number): void {
  const { source, melBands = 0, width, halfWidths, classes } = alignment!;
  const columns = (source === 'features' ? config.shape.convDim.at(-1)! : config.shape.hiddenSize) + melBands;
  count.parameters('alignment.layer_weights');
  count.linear(['alignment.projection.'], 2 * frames * columns * width);
  for (const [i, half] of halfWidths.entries()) {
    count.parameters(`alignment.blocks.${i}.norm.`);
    count.linear([`alignment.blocks.${i}.conv.`], 2 * frames * width ** 2 * (2 * half + 1));
  }
  count.parameters('alignment.norm.');
  count.linear(['alignment.output.'], 2 * frames * width * classes);
}

/** Frames of the chunks of each utterance, with their context, over which the transformer is run. */
function chunkLengths(
  lengths: readonly number[],
  { chunkFrames, contextFrames }: { chunkFrames: number; contextFrames: number },
): number[] {
  return lengths.flatMap((length) =>
    Array.from({ length: Math.ceil(length / chunkFrames) }, (_, chunk) => {
      const first = Math.max(chunk * chunkFrames - contextFrames, 0);
      return Math.min((chunk + 1) * chunkFrames + contextFrames, length) - first;
    }),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
