// Layers that networks share, as ONNX operators. Weights are called as the layer's `scope` says.
import type { HubertShape } from '../model/binding.js';
import type { Graph, Value } from '../onnx/graph.js';
import type { Weights } from './weights.js';

/** What layers are made with. */
export interface Layers {
  graph: Graph;
  weights: Weights;
}

/** What the layers of a model are made with. */
export interface Parts extends Layers {
  shape: HubertShape;
}

/** `[..., in]` to `[..., out]`. */
export function linear({ graph, weights }: Layers, x: Value, scope: string): Value {
  const product = graph.node('MatMul', [x, graph.weight(weights.transposed(`${scope}.weight`))], { scope });
  return graph.node('Add', [product, graph.weight(weights.get(`${scope}.bias`))], { scope });
}

/** Of the last axis. */
export function layerNorm({ graph, weights }: Layers, x: Value, scope: string, epsilon: number): Value {
  const inputs = [x, ...['weight', 'bias'].map((part) => graph.weight(weights.get(`${scope}.${part}`)))];
  return graph.node('LayerNormalization', inputs, { scope, attributes: { axis: -1, epsilon: { float: epsilon } } });
}

/** Of the last axis, so many wide, without weight and bias. */
export function plainLayerNorm({ graph }: Layers, x: Value, scope: string, width: number, epsilon: number): Value {
  const ones = graph.weight({
    name: `ones.${width}`,
    shape: [width],
    read: async () => new Float32Array(width).fill(1),
  });
  return graph.node('LayerNormalization', [x, ones], { scope, attributes: { axis: -1, epsilon: { float: epsilon } } });
}

/**
 * (x - mean) / sqrt(variance + ε) over axes of any length. Runtimes sum in float32 one value after another, which is right to five
 * digits only; what the mean leaves of the mean is taken away too.
 */
export function standardized(graph: Graph, x: Value, scope: string, axes: readonly number[], epsilon: number): Value {
  const node = (type: string, inputs: Value[]) => graph.node(type, inputs, { scope });
  const mean = (of: Value) => graph.node('ReduceMean', [of], { scope, attributes: { axes, keepdims: 1 } });
  const withoutMean = (of: Value) => node('Sub', [of, mean(of)]);
  const centred = withoutMean(withoutMean(x));
  const variance = mean(node('Mul', [centred, centred]));
  return node('Div', [centred, node('Sqrt', [node('Add', [variance, graph.scalar(epsilon)])])]);
}

/** Hidden states, weighted by the softmax of the tensor called `scope`. */
export function weightedSum({ graph, weights }: Layers, states: readonly Value[], scope: string): Value {
  const shares = graph.node('Softmax', [graph.weight(weights.get(scope))], { scope, attributes: { axis: 0 } });
  const terms = states.map((state, i) => {
    const share = graph.node('Gather', [shares, graph.integer(i)], { scope });
    return graph.node('Mul', [state, share], { scope });
  });
  return graph.node('Sum', terms, { scope });
}

/** x/2 · (1 + erf(x / √2)), in the form that runtimes know to be GELU and compute in one pass. */
export function gelu({ graph }: Layers, x: Value, scope: string): Value {
  const erf = graph.node('Erf', [graph.node('Div', [x, graph.scalar(Math.SQRT2)], { scope })], { scope });
  const product = graph.node('Mul', [x, graph.node('Add', [erf, graph.scalar(1)], { scope })], { scope });
  return graph.node('Mul', [product, graph.scalar(0.5)], { scope });
}

/** `[B, T, C]` to `[B, C, T]`, and back. */
export function swapped({ graph }: Layers, x: Value, scope: string): Value {
  return graph.node('Transpose', [x], { scope, attributes: { perm: [0, 2, 1] } });
}
