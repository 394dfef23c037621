// HuBERT as ONNX operators, in the order of its layers. Names of operators and weights are those of transformers' modules.
// Shapes are for a batch of B utterances of one length: the graph has no attention mask, and needs none for them.
import type { HubertShape } from '../model/binding.js';
import type { Graph, Value } from '../onnx/graph.js';
import type { Weights } from './weights.js';

/** Of the feature encoder's own norms, whatever `layer_norm_eps` says. */
const featureEpsilon = 1e-5;

/** What the layers are made with. */
interface Parts {
  graph: Graph;
  weights: Weights;
  shape: HubertShape;
}

/**
 * Samples `[B, samples]` to hidden states `[B, T, C]`: the model's output.
 *
 * @param normalize bring every utterance to zero mean and unit variance first
 */
export function hubertGraph(
  graph: Graph,
  weights: Weights,
  shape: HubertShape,
  samples: Value,
  normalize: boolean,
): Value {
  const parts = { graph, weights, shape };
  const heard = normalize ? normalized(graph, samples) : samples;
  return transformer(parts, featureProjection(parts, featureEncoder(parts, heard)));
}

/**
 * (x - mean) / sqrt(variance + 1e-7), as transformers' feature extractor. Runtimes sum in float32 one sample after another,
 * which is right to five digits only; what the mean leaves of the mean is taken away too.
 */
function normalized(graph: Graph, samples: Value): Value {
  const scope = 'normalize';
  const node = (type: string, inputs: Value[]) => graph.node(type, inputs, { scope });
  const mean = (x: Value) => graph.node('ReduceMean', [x], { scope, attributes: { axes: [1], keepdims: 1 } });
  const withoutMean = (x: Value) => node('Sub', [x, mean(x)]);
  const centred = withoutMean(withoutMean(samples));
  const variance = mean(node('Mul', [centred, centred]));
  return node('Div', [centred, node('Sqrt', [node('Add', [variance, graph.scalar(1e-7)])])]);
}

/** Samples `[B, samples]` to features `[B, T, channels]`. */
function featureEncoder({ graph, weights, shape }: Parts, samples: Value): Value {
  const root = 'feature_extractor';
  let x = graph.node('Unsqueeze', [samples, graph.integers(1)], { scope: root });
  for (const [i, kernel] of shape.convKernel.entries()) {
    const scope = `${root}.conv_layers.${i}`;
    const inputs = [x, graph.weight(weights.get(`${scope}.conv.weight`))];
    if (shape.convBias) inputs.push(graph.weight(weights.get(`${scope}.conv.bias`)));
    const attributes = { kernel_shape: [kernel], strides: [shape.convStride[i]!] };
    x = graph.node('Conv', inputs, { scope: `${scope}.conv`, attributes });
    const norm = () => ['weight', 'bias'].map((part) => graph.weight(weights.get(`${scope}.layer_norm.${part}`)));
    if (!shape.groupNorm) {
      x = swapped(graph, x, scope);
      const attributes = { axis: -1, epsilon: { float: featureEpsilon } };
      x = graph.node('LayerNormalization', [x, ...norm()], { scope: `${scope}.layer_norm`, attributes });
      x = swapped(graph, x, scope);
    } else if (i === 0) {
      // As many groups as channels: each is normalised over time alone.
      const attributes = { epsilon: { float: featureEpsilon } };
      x = graph.node('InstanceNormalization', [x, ...norm()], { scope: `${scope}.layer_norm`, attributes });
    }
    x = gelu(graph, x, scope);
  }
  return swapped(graph, x, root);
}

/** `[B, T, channels]` to `[B, T, C]`. */
function featureProjection(parts: Parts, features: Value): Value {
  const scope = 'feature_projection';
  const normed = parts.shape.featureProjectionLayerNorm ? layerNorm(parts, features, `${scope}.layer_norm`) : features;
  return linear(parts, normed, `${scope}.projection`);
}

/** `[B, T, C]` to `[B, T, C]`. */
function transformer(parts: Parts, projected: Value): Value {
  const { graph, shape } = parts;
  const preNorm = shape.stableLayerNorm;
  let x = graph.node('Add', [projected, positionalConv(parts, projected)], { scope: 'encoder' });
  if (!preNorm) x = layerNorm(parts, x, 'encoder.layer_norm');
  for (let i = 0; i < shape.layers; i++) {
    const scope = `encoder.layers.${i}`;
    const residual = (before: Value, work: (x: Value) => Value, norm: string): Value => {
      const input = preNorm ? layerNorm(parts, before, norm) : before;
      const sum = graph.node('Add', [before, work(input)], { scope });
      return preNorm ? sum : layerNorm(parts, sum, norm);
    };
    x = residual(x, (input) => attention(parts, input, `${scope}.attention`), `${scope}.layer_norm`);
    x = residual(x, (input) => feedForward(parts, input, `${scope}.feed_forward`), `${scope}.final_layer_norm`);
  }
  return preNorm ? layerNorm(parts, x, 'encoder.layer_norm') : x;
}

/** A grouped convolution over time whose output is as long as its input, then GELU. */
function positionalConv({ graph, weights, shape }: Parts, x: Value): Value {
  const scope = 'encoder.pos_conv_embed';
  const kernel = shape.positionalKernel;
  const before = Math.floor(kernel / 2);
  // PyTorch pads both sides alike and drops the last frame of an even kernel; not to pad for it is the same.
  const attributes = { kernel_shape: [kernel], group: shape.positionalGroups, pads: [before, kernel - 1 - before] };
  const inputs = [swapped(graph, x, scope), graph.weight(weights.positional())];
  inputs.push(graph.weight(weights.get(`${scope}.conv.bias`)));
  const y = graph.node('Conv', inputs, { scope: `${scope}.conv`, attributes });
  return swapped(graph, gelu(graph, y, scope), scope);
}

function attention(parts: Parts, x: Value, scope: string): Value {
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
  const scores = graph.node('MatMul', [q, k], { scope });
  const probabilities = graph.node('Softmax', [scores], { scope, attributes: { axis: -1 } });
  const mixed = graph.node('MatMul', [probabilities, v], { scope });
  const byFrame = graph.node('Transpose', [mixed], { scope, attributes: { perm: [0, 2, 1, 3] } });
  const joined = graph.node('Reshape', [byFrame, graph.integers(0, 0, shape.hiddenSize)], { scope });
  return linear(parts, joined, `${scope}.out_proj`);
}

function feedForward(parts: Parts, x: Value, scope: string): Value {
  const inner = linear(parts, x, `${scope}.intermediate_dense`);
  return linear(parts, gelu(parts.graph, inner, scope), `${scope}.output_dense`);
}

function linear({ graph, weights }: Parts, x: Value, scope: string): Value {
  const product = graph.node('MatMul', [x, graph.weight(weights.transposed(`${scope}.weight`))], { scope });
  return graph.node('Add', [product, graph.weight(weights.get(`${scope}.bias`))], { scope });
}

function layerNorm({ graph, weights, shape }: Parts, x: Value, scope: string): Value {
  const inputs = [x, ...['weight', 'bias'].map((part) => graph.weight(weights.get(`${scope}.${part}`)))];
  const attributes = { axis: -1, epsilon: { float: shape.layerNormEpsilon } };
  return graph.node('LayerNormalization', inputs, { scope, attributes });
}

/** x/2 · (1 + erf(x / √2)), in the form that runtimes know to be GELU and compute in one pass. */
function gelu(graph: Graph, x: Value, scope: string): Value {
  const erf = graph.node('Erf', [graph.node('Div', [x, graph.scalar(Math.SQRT2)], { scope })], { scope });
  const product = graph.node('Mul', [x, graph.node('Add', [erf, graph.scalar(1)], { scope })], { scope });
  return graph.node('Mul', [product, graph.scalar(0.5)], { scope });
}

/** `[B, T, C]` to `[B, C, T]`, and back. */
function swapped(graph: Graph, x: Value, scope: string): Value {
  return graph.node('Transpose', [x], { scope, attributes: { perm: [0, 2, 1] } });
}
