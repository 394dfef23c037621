// Layers that networks share, as ONNX operators. Weights are called as the layer's `scope` says.
import type { Graph, Value } from '../onnx/graph.js';
import type { Weights } from './weights.js';

/** What layers are made with. */
export interface Layers {
  graph: Graph;
  weights: Weights;
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
