// HuBERT as ONNX operators, in the order of its layers. Names of operators and weights are those of transformers' modules.
// Shapes are for a batch of B utterances of one length: the graph has no attention mask, and needs none for them.
import type { Normalization } from '../audio/normalize.js';
import type { SoundStatistics } from '../model/alignment.js';
import type { HubertShape } from '../model/binding.js';
import type { Graph, Value } from '../onnx/graph.js';
import { gelu, type Layers, layerNorm, linear, swapped } from './layers.js';

/** Of the feature encoder's own norms, whatever `layer_norm_eps` says. */
const featureEpsilon = 1e-5;

/** What HuBERT is made with. */
export interface Parts extends Layers {
  shape: HubertShape;
}

/** What of the transformer is wanted. */
interface Depth {
  /** The layer of the last hidden state, 0 being what the first layer reads; or the model's output. */
  layer: number | 'output';
  /** Float32, added to the scores of attention `[B, heads, T, T]`, e.g. to keep frames out of it. */
  mask?: Value;
}

/**
 * (x - mean) / sqrt(variance + ε), as feature extractors do. Runtimes sum in float32 one sample after another,
 * which is right to five digits only; what the mean leaves of the mean is taken away too.
 */
function normalized(graph: Graph, samples: Value, epsilon: number): Value {
  const scope = 'normalize';
  const node = (type: string, inputs: Value[]) => graph.node(type, inputs, { scope });
  const mean = (x: Value) => graph.node('ReduceMean', [x], { scope, attributes: { axes: [1], keepdims: 1 } });
  const withoutMean = (x: Value) => node('Sub', [x, mean(x)]);
  const centred = withoutMean(withoutMean(samples));
  const variance = mean(node('Mul', [centred, centred]));
  return node('Div', [centred, node('Sqrt', [node('Add', [variance, graph.scalar(epsilon)])])]);
}

/**
 * The model's input `[B, samples]`, normalised if the model needs it.
 *
 * @param sound as the model expects it; or statistics by which it is brought to the model in place of its own
 */
export function broughtSamples(graph: Graph, samples: Value, sound: Normalization | SoundStatistics): Value {
  if (typeof sound === 'boolean') return sound ? normalized(graph, samples, 1e-7) : samples;
  if ('epsilon' in sound) return normalized(graph, samples, sound.epsilon);
  return scaled(graph, samples, 'waveform' in sound ? sound : { waveform: sound });
}

/**
 * From the model's input `[B, samples]` to features `[B, T, channels]`.
 *
 * @param windows by which the first convolution's norm is taken, in place of the utterance's own
 */
export function featureEncoder(parts: Parts, samples: Value, windows?: SoundStatistics['windows']): Value {
  const { graph, weights, shape } = parts;
  const root = 'feature_extractor';
  let x = graph.node('Unsqueeze', [samples, graph.integers(1)], { scope: root });
  for (const [i, kernel] of shape.convKernel.entries()) {
    const scope = `${root}.conv_layers.${i}`;
    const inputs = [x, graph.weight(weights.get(`${scope}.conv.weight`))];
    if (shape.convBias) inputs.push(graph.weight(weights.get(`${scope}.conv.bias`)));
    const attributes = { kernel_shape: [kernel], strides: [shape.convStride[i]!] };
    x = graph.node('Conv', inputs, { scope: `${scope}.conv`, attributes });
    if (!shape.groupNorm) {
      x = layerNorm(parts, swapped(parts, x, scope), `${scope}.layer_norm`, featureEpsilon);
      x = swapped(parts, x, scope);
    } else if (i === 0 && windows) {
      x = normalizedBy(parts, x, scope, windows);
    } else if (i === 0) {
      // As many groups as channels: each is normalised over time alone.
      const attributes = { epsilon: { float: featureEpsilon } };
      const norm = ['weight', 'bias'].map((part) => graph.weight(weights.get(`${scope}.layer_norm.${part}`)));
      x = graph.node('InstanceNormalization', [x, ...norm], { scope: `${scope}.layer_norm`, attributes });
    }
    x = gelu(parts, x, scope);
  }
  return swapped(parts, x, root);
}

/** (sample − mean) · scale. */
function scaled(graph: Graph, samples: Value, { waveform }: SoundStatistics): Value {
  const scope = 'normalize';
  const centred = graph.node('Sub', [samples, graph.scalar(waveform.mean)], { scope });
  return graph.node('Mul', [centred, graph.scalar(waveform.scale)], { scope });
}

/**
 * The first convolution's norm over time `[B, channels, T]`, by moments of its windows: of a channel with weights w they make the
 * mean w · m and the variance w S w.
 */
function normalizedBy(
  { graph, weights, shape }: Parts,
  x: Value,
  scope: string,
  { mean, covariance }: NonNullable<SoundStatistics['windows']>,
): Value {
  const node = (type: string, inputs: Value[], attributes = {}) => graph.node(type, inputs, { scope, attributes });
  const kernel = shape.convKernel[0]!;
  // [channels, 1, kernel], and [channels, 1, 1] of all that follows.
  const w = graph.weight(weights.get(`${scope}.conv.weight`));
  let center = node('MatMul', [w, graph.floats(mean, [kernel, 1])]);
  const column = (name: string) =>
    node('Unsqueeze', [graph.weight(weights.get(`${scope}.${name}`)), graph.integers(1, 2)]);
  if (shape.convBias) center = node('Add', [center, column('conv.bias')]);
  const spread = node('Mul', [node('MatMul', [w, graph.floats(covariance, [kernel, kernel])]), w]);
  const variance = node('ReduceSum', [spread, graph.integers(-1)], { keepdims: 1 });
  const deviation = node('Sqrt', [node('Add', [variance, graph.scalar(featureEpsilon)])]);
  const factor = node('Div', [column('layer_norm.weight'), deviation]);
  const byChannel = (value: Value) => node('Squeeze', [value, graph.integers(-1)]);
  const scaledBy = node('Mul', [node('Sub', [x, byChannel(center)]), byChannel(factor)]);
  return node('Add', [scaledBy, byChannel(column('layer_norm.bias'))]);
}

/** `[B, T, channels]` to `[B, T, C]`. */
export function featureProjection(parts: Parts, features: Value): Value {
  const scope = 'feature_projection';
  const normed = parts.shape.featureProjectionLayerNorm ? norm(parts, features, `${scope}.layer_norm`) : features;
  return linear(parts, normed, `${scope}.projection`);
}

/** Projected features `[B, T, C]` to hidden states `[B, T, C]`: of each layer up to the one that is wanted, which is the last. */
export function transformer(parts: Parts, projected: Value, { layer, mask }: Depth): Value[] {
  const { graph, shape } = parts;
  const preNorm = shape.stableLayerNorm;
  let x = graph.node('Add', [projected, positionalConv(parts, projected)], { scope: 'encoder' });
  if (!preNorm) x = norm(parts, x, 'encoder.layer_norm');
  const states = [x];
  for (let i = 0; i < (layer === 'output' ? shape.layers : layer); i++) {
    const scope = `encoder.layers.${i}`;
    const residual = (before: Value, work: (x: Value) => Value, named: string): Value => {
      const input = preNorm ? norm(parts, before, named) : before;
      const sum = graph.node('Add', [before, work(input)], { scope });
      return preNorm ? sum : norm(parts, sum, named);
    };
    x = residual(x, (input) => attention(parts, input, `${scope}.attention`, mask), `${scope}.layer_norm`);
    x = residual(x, (input) => feedForward(parts, input, `${scope}.feed_forward`), `${scope}.final_layer_norm`);
    states.push(x);
  }
  if (preNorm && layer === 'output') states.push(norm(parts, x, 'encoder.layer_norm'));
  return states;
}

/** A grouped convolution over time whose output is as long as its input, then GELU. */
function positionalConv(parts: Parts, x: Value): Value {
  const { graph, weights, shape } = parts;
  const scope = 'encoder.pos_conv_embed';
  const kernel = shape.positionalKernel;
  const before = Math.floor(kernel / 2);
  // PyTorch pads both sides alike and drops the last frame of an even kernel; not to pad for it is the same.
  const attributes = { kernel_shape: [kernel], group: shape.positionalGroups, pads: [before, kernel - 1 - before] };
  const inputs = [swapped(parts, x, scope), graph.weight(weights.positional())];
  inputs.push(graph.weight(weights.get(`${scope}.conv.bias`)));
  const y = graph.node('Conv', inputs, { scope: `${scope}.conv`, attributes });
  return swapped(parts, gelu(parts, y, scope), scope);
}

function attention(parts: Parts, x: Value, scope: string, mask: Value | undefined): Value {
  const { graph, shape } = parts;
  const headSize = shape.hiddenSize / shape.heads;
  const heads = (of: string, perm: number[]): Value => {
    const projected = linear(parts, x, `${scope}.${of}`);
    // Zeros keep an extent as it is.
    const split = graph.node('Reshape', [projected, graph.integers(0, 0, shape.heads, headSize)], { scope });
    return graph.node('Transpose', [split], { scope, attributes: { perm } });
  };
  // Next to the product, of which runtimes make the factor a part.
  const q = graph.node('Mul', [heads('q_proj', [0, 2, 1, 3]), graph.scalar(headSize ** -0.5)], { scope });
  const k = heads('k_proj', [0, 2, 3, 1]);
  const v = heads('v_proj', [0, 2, 1, 3]);
  const products = graph.node('MatMul', [q, k], { scope });
  const scores = mask === undefined ? products : graph.node('Add', [products, mask], { scope });
  const probabilities = graph.node('Softmax', [scores], { scope, attributes: { axis: -1 } });
  const mixed = graph.node('MatMul', [probabilities, v], { scope });
  const byFrame = graph.node('Transpose', [mixed], { scope, attributes: { perm: [0, 2, 1, 3] } });
  const joined = graph.node('Reshape', [byFrame, graph.integers(0, 0, shape.hiddenSize)], { scope });
  return linear(parts, joined, `${scope}.out_proj`);
}

function feedForward(parts: Parts, x: Value, scope: string): Value {
  const inner = linear(parts, x, `${scope}.intermediate_dense`);
  return linear(parts, gelu(parts, inner, scope), `${scope}.output_dense`);
}

/** The encoder's own. */
function norm(parts: Parts, x: Value, scope: string): Value {
  return layerNorm(parts, x, scope, parts.shape.layerNormEpsilon);
}
