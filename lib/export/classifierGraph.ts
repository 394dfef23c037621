// The classifier as ONNX operators: pooling of frames, emotions of the utterance, and the same classifier on every frame.
import type { PoolingName } from '../model/binding.js';
import type { Graph, Value } from '../onnx/graph.js';
import type { Weights } from './weights.js';

/** As in native/cpu/pooling.cpp. */
const varianceFloor = 1e-5;

const scope = 'classifier';

interface ClassifierOptions {
  pooling: PoolingName;
  hiddenSize: number;
  /** Multiplies the logits. */
  calibration: number;
  /** What its values are called, where they are outputs of the whole graph. */
  outputs: { logits?: Value; attention: Value };
}

/** What the classifier makes of an utterance. */
export interface Classified {
  /** `[B, K]` */
  logits: Value;
  /** What it multiplies frames by, and what it adds: `[B, 1, K]`, or `[K]`. */
  weight: Value;
  rest: Value;
}

/** Hidden states `[B, T, C]` to logits `[B, K]` and pooling weights `[B, T]`. */
export function classifierGraph(
  graph: Graph,
  weights: Weights,
  hidden: Value,
  { pooling, hiddenSize, calibration, outputs }: ClassifierOptions,
): Classified {
  const node = nodesOf(graph);
  const attention = frameWeights(graph, weights, hidden, pooling, outputs.attention);
  // [B, 1, T] · [B, T, C]
  const row = node('Unsqueeze', [attention, graph.integers(1)]);
  const mean = node('MatMul', [row, hidden]);
  const bias = graph.weight(weights.get('classifier.bias'));
  let weight: Value;
  let rest = bias;
  if (pooling === 'stats') {
    // [mean ; deviation] · W: of every frame, too, the deviation is the utterance's, and adds to the bias.
    const part = (first: number) => graph.weight(weights.transposed('classifier.weight', { first, count: hiddenSize }));
    const centred = node('Sub', [hidden, mean]);
    const variance = node('MatMul', [row, node('Mul', [centred, centred])]);
    const deviation = node('Sqrt', [node('Add', [variance, graph.scalar(varianceFloor)])]);
    weight = part(0);
    rest = node('Add', [node('MatMul', [deviation, part(hiddenSize)]), bias]);
  } else weight = graph.weight(weights.transposed('classifier.weight'));
  const decided = node('Add', [node('MatMul', [mean, weight]), rest]);
  const calibrated = calibration === 1 ? decided : node('Mul', [decided, graph.scalar(calibration)]);
  const named = outputs.logits === undefined ? {} : { output: outputs.logits };
  return { logits: node('Squeeze', [calibrated, graph.integers(1)], named), weight, rest };
}

/** The classifier on each frame alone: posteriors `[B, T, K]`, called `output`. */
export function framePosteriors(graph: Graph, hidden: Value, { weight, rest }: Classified, output: Value): void {
  const node = nodesOf(graph);
  const frames = node('Add', [node('MatMul', [hidden, weight]), rest]);
  node('Softmax', [frames], { attributes: { axis: -1 }, output });
}

/** `[B, T]`: how much each frame counts. */
function frameWeights(graph: Graph, weights: Weights, hidden: Value, pooling: PoolingName, output: Value): Value {
  const at = { scope: 'pooling' };
  let scores: Value;
  if (pooling === 'mean') {
    const extents = graph.node('Shape', [hidden], { ...at, attributes: { start: 0, end: 2 } });
    scores = graph.node('ConstantOfShape', [extents], at);
  } else {
    // A vector on the right takes the last axis away.
    scores = graph.node('MatMul', [hidden, graph.weight(weights.get('pooling.weight'))], at);
    if (pooling === 'attention') scores = graph.node('Tanh', [scores], at);
    if (pooling === 'stats') scores = graph.node('Relu', [scores], at);
  }
  return graph.node('Softmax', [scores], { ...at, attributes: { axis: 1 }, output });
}

function nodesOf(graph: Graph) {
  return (type: string, inputs: Value[], more: { attributes?: Record<string, number>; output?: Value } = {}): Value =>
    graph.node(type, inputs, { scope, ...more });
}
