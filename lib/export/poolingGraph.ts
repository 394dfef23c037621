// Pooling of frames as ONNX operators: of the utterance's, and of windows of them, for which a frame's neighbourhood is pooled as if
// it were an utterance.
import type { PoolingName } from '../model/binding.js';
import { deviationOf } from '../model/classifier.js';
import type { Value } from '../onnx/graph.js';
import { linear, type Parts } from './layers.js';

/** Of the variance, as in native/cpu/pooling.cpp. */
const varianceFloor = 1e-5;
/** Of frames outside a window: their exponential is 0. */
const outOfReach = -1e9;
const scope = 'pooling';

/** What pooling gives, in parts of equal width one behind another: means, then deviations where it gives them. */
export interface Pooled {
  /** Each `[B, 1, P]`. */
  utterance: Value[];
  /** The same of windows, one every `hop` frames, each cut off where the utterance ends; each `[B, windows, P]`. */
  windows: (frames: { window: number; hop: number }) => Value[];
}

/** Frames `[B, T, P]` to what they are pooled to, and the weight of each frame `[B, T]`, which is called `output`. */
export function poolingGraph(parts: Parts, pooling: PoolingName, x: Value, output: Value): Pooled {
  if (pooling === 'max') return largest(parts, x, output);
  const { graph } = parts;
  const node = nodesOf(parts);
  const scores = scoresOf(parts, pooling, x);
  const attention = node('Softmax', [scores], { attributes: { axis: 1 }, output });
  if (pooling === 'sum')
    return {
      utterance: [node('ReduceSum', [x, graph.integers(1)], { attributes: { keepdims: 1 } })],
      windows: (frames) => [node('MatMul', [where(parts, inWindows(parts, x, frames), graph.scalar(1), 0), x])],
    };
  // [B, 1, T] · [B, T, P]
  const row = node('Unsqueeze', [attention, graph.integers(1)]);
  const mean = node('MatMul', [row, x]);
  const deviates = deviationOf(pooling) !== undefined;
  const centred = deviates ? node('Sub', [x, mean]) : x;
  const weighted = (rows: Value, means: Value): Value[] =>
    deviates ? [means, deviation(parts, pooling, rows, centred)] : [means];
  return {
    utterance: weighted(row, mean),
    windows: (frames) => {
      const near = inWindows(parts, x, frames);
      const apart = where(parts, near, node('Unsqueeze', [scores, graph.integers(1)]), outOfReach);
      const rows = node('Softmax', [apart], { attributes: { axis: -1 } });
      return weighted(rows, node('MatMul', [rows, x]));
    },
  };
}

/** `[B, T]`: what weights of frames are the softmax of. */
function scoresOf(parts: Parts, pooling: PoolingName, x: Value): Value {
  const { graph, weights } = parts;
  const node = nodesOf(parts);
  if (pooling === 'mean' || pooling === 'sum')
    return node('ConstantOfShape', [node('Shape', [x], { attributes: { start: 0, end: 2 } })]);
  const read = pooling === 'attentive-stats' ? node('Tanh', [linear(parts, x, 'pooling.linear')]) : x;
  // A vector on the right takes the last axis away.
  const scores = node('MatMul', [read, graph.weight(weights.get('pooling.weight'))]);
  if (pooling === 'attention') return node('Tanh', [scores]);
  return pooling === 'stats' ? node('Relu', [scores]) : scores;
}

/**
 * The square root of the weighted variance of frames that lie around the utterance's mean: of windows, mean of squares less square of
 * mean, which loses no more digits than a window is off the utterance.
 */
function deviation(parts: Parts, pooling: PoolingName, rows: Value, centred: Value): Value {
  const { graph } = parts;
  const node = nodesOf(parts);
  const off = node('MatMul', [rows, centred]);
  const squares = node('MatMul', [rows, node('Mul', [centred, centred])]);
  const variance = node('Sub', [squares, node('Mul', [off, off])]);
  const floor = graph.scalar(varianceFloor);
  if (deviationOf(pooling) === 'clamped') return node('Sqrt', [node('Max', [variance, floor])]);
  return node('Sqrt', [node('Add', [node('Relu', [variance]), floor])]);
}

/** The largest of each channel; a frame's weight is the share of channels of which it has the largest, the first if several have. */
function largest(parts: Parts, x: Value, output: Value): Pooled {
  const { graph } = parts;
  const node = nodesOf(parts);
  const at = node('ArgMax', [x], { attributes: { axis: 1, keepdims: 1 } });
  const end = node('Squeeze', [node('Shape', [x], { attributes: { start: 1, end: 2 } }), graph.integers(0)]);
  const places = node('Range', [graph.integer(0), end, graph.integer(1)]);
  const here = node('Equal', [node('Unsqueeze', [places, graph.integers(1)]), at]);
  const shares = where(parts, here, graph.scalar(1), 0);
  node('ReduceMean', [shares], { attributes: { axes: [-1], keepdims: 0 }, output });
  const byChannel = { attributes: { perm: [0, 2, 1] } };
  return {
    utterance: [node('ReduceMax', [x], { attributes: { axes: [1], keepdims: 1 } })],
    windows: ({ window, hop }) => {
      const before = Math.floor(window / 2);
      const attributes = { kernel_shape: [window], strides: [hop], pads: [before, window - before - 1] };
      const pooled = node('MaxPool', [node('Transpose', [x], byChannel)], { attributes });
      return [node('Transpose', [pooled], byChannel)];
    },
  };
}

/** `[windows, T]`: whether a window has a frame. */
function inWindows(parts: Parts, x: Value, { window, hop }: { window: number; hop: number }): Value {
  const { graph } = parts;
  const node = nodesOf(parts);
  const frames = node('Squeeze', [node('Shape', [x], { attributes: { start: 1, end: 2 } }), graph.integers(0)]);
  const upTo = (end: Value, step: number) => node('Range', [graph.integer(0), end, graph.integer(step)]);
  const middles = node('Unsqueeze', [upTo(frames, hop), graph.integers(1)]);
  const first = node('Sub', [middles, graph.integer(Math.floor(window / 2))]);
  const place = node('Sub', [upTo(frames, 1), first]);
  return node('And', [node('GreaterOrEqual', [place, graph.integer(0)]), node('Less', [place, graph.integer(window)])]);
}

function where(parts: Parts, condition: Value, value: Value, otherwise: number): Value {
  return nodesOf(parts)('Where', [condition, value, parts.graph.scalar(otherwise)]);
}

function nodesOf({ graph }: Parts) {
  return (
    type: string,
    inputs: Value[],
    more: { attributes?: Record<string, number | number[]>; output?: Value } = {},
  ): Value => graph.node(type, inputs, { scope, ...more });
}
