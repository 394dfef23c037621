// Where frames lie, as the transformer is told it, as ONNX operators: convolutions over the frames, and biases of attention by the
// distance from query to key.
import type { Value } from '../onnx/graph.js';
import { gelu, linear, type Parts, plainLayerNorm, swapped } from './layers.js';
import { slopesOf } from './positionBias.js';

/** Of the norms between positional convolutions, whatever `layer_norm_eps` says. */
const epsilon = 1e-5;
const root = 'encoder.pos_conv_embed';

/**
 * One grouped convolution over time, or several, whose output `[B, T, C]` is as long as the input.
 *
 * @param exists `[B, T, 1]`, 1 for frames that there are and 0 for others, which are silent to every convolution; absent: all are
 */
export function positionalConvs(parts: Parts, x: Value, exists: Value | undefined): Value {
  const { graph, weights, shape } = parts;
  const bias = (scope: string) => graph.weight(weights.get(`${scope}.bias`));
  if (shape.positionalDepth === undefined) {
    const scope = `${root}.conv`;
    const y = convolution(parts, swapped(parts, x, root), scope, [graph.weight(weights.positional()), bias(scope)]);
    return swapped(parts, gelu(parts, y, root), root);
  }
  let y = x;
  for (let i = 0; i < shape.positionalDepth; i++) {
    const layer = `${root}.layers.${i}`;
    const scope = `${layer}.conv`;
    const weight = graph.weight(weights.get(`${scope}.weight`));
    if (i > 0 && exists !== undefined) y = graph.node('Mul', [y, exists], { scope: layer });
    y = swapped(parts, convolution(parts, swapped(parts, y, layer), scope, [weight, bias(scope)]), layer);
    y = gelu(parts, plainLayerNorm(parts, y, `${layer}.layer_norm`, shape.hiddenSize, epsilon), layer);
  }
  return y;
}

/** `[B, C, T]` */
function convolution({ graph, shape }: Parts, x: Value, scope: string, weights: Value[]): Value {
  const kernel = shape.positionalKernel;
  const before = Math.floor(kernel / 2);
  // PyTorch pads both sides alike and drops the last frame of an even kernel; not to pad for it is the same.
  const attributes = { kernel_shape: [kernel], group: shape.positionalGroups, pads: [before, kernel - 1 - before] };
  return graph.node('Conv', [x, ...weights], { scope, attributes });
}

/** `[H, T, T]`, added to the scores of a query and a key in every layer, where the model has such a bias; `x` is `[B, T, C]`. */
export function positionBias(parts: Parts, x: Value): Value | undefined {
  const { graph, weights, shape } = parts;
  const { positionBias: kind, extraTokens = 0 } = shape;
  if (kind === undefined) return undefined;
  const scope = 'encoder.position_bias';
  const node = (type: string, inputs: Value[], attributes = {}) => graph.node(type, inputs, { scope, attributes });
  const end = node('Squeeze', [node('Shape', [x], { start: 1, end: 2 }), graph.integers(0)]);
  const frames = kind.kind === 'slopes' ? node('Sub', [end, graph.integer(extraTokens)]) : end;
  const places = node('Range', [graph.integer(0), frames, graph.integer(1)]);
  // [query, key]
  const distance = node('Sub', [places, node('Unsqueeze', [places, graph.integers(1)])]);
  if (kind.kind === 'buckets') {
    const { reach } = kind;
    const near = node('Min', [node('Max', [distance, graph.integer(-reach)]), graph.integer(reach)]);
    const row = node('Add', [near, graph.integer(reach)]);
    return node('Gather', [graph.weight(weights.distanceTable(kind)), row], { axis: 1 });
  }
  const scale = node('Relu', [graph.weight(weights.get('encoder.alibi_scale'))]);
  const slopes = node('Mul', [
    scale,
    graph.floats(
      slopesOf(shape.heads).map((slope) => -slope),
      [shape.heads],
    ),
  ]);
  const far = node('Cast', [node('Abs', [distance])], { to: floatType });
  const bias = node('Mul', [node('Unsqueeze', [slopes, graph.integers(1, 2)]), far]);
  // The tokens before the frames are as near to all.
  return extraTokens === 0 ? bias : node('Pad', [bias, graph.integers(0, extraTokens, extraTokens, 0, 0, 0)]);
}

/** ONNX's number for float32. */
const floatType = 1;

/** What a layer's queries make of the bias `[H, T, T]`, from the attention's input `[B, T, C]`: `[B, H, T, T]`. */
export function gatedBias(parts: Parts, bias: Value, x: Value, scope: string): Value {
  const { graph, weights, shape } = parts;
  if (shape.positionBias?.kind !== 'buckets') return bias;
  const node = (type: string, inputs: Value[], attributes = {}) => graph.node(type, inputs, { scope, attributes });
  const { heads, hiddenSize } = shape;
  const split = node('Reshape', [x, graph.integers(0, 0, heads, hiddenSize / heads)]);
  const byHead = node('Transpose', [split], { perm: [0, 2, 1, 3] });
  // Two gates, of four sums each.
  const eight = linear(parts, byHead, `${scope}.gru_rel_pos_linear`);
  const pairs = node('Reshape', [eight, graph.integers(0, 0, 0, 2, 4)]);
  const gates = node('Sigmoid', [node('ReduceSum', [pairs, graph.integers(-1)], { keepdims: 0 })]);
  const gate = (i: number) => node('Gather', [gates, graph.integers(i)], { axis: -1 });
  const constant = graph.weight(weights.get(`${scope}.gru_rel_pos_const`));
  const inner = node('Sub', [node('Mul', [gate(1), constant]), graph.scalar(1)]);
  return node('Mul', [node('Add', [node('Mul', [gate(0), inner]), graph.scalar(2)]), bias]);
}
