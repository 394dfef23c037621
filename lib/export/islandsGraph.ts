// Forward-backward over islands of emotion between neutral frames (native/ops.h has the model) as ONNX operators: a recurrence
// forwards and one backwards. Runtimes compute it in float32, so both keep logarithms of shares, which stay small however long the
// utterance; what the shares are of is summed beside them.
import type { IslandModel } from '../evaluate/islands.js';
import type { Graph, Value } from '../onnx/graph.js';

/** The logarithm of 0, as it may be added to without becoming infinite. */
const nothing = -1e30;
/** Of the states of a path: neutral before the first island, in one, and neutral after one. */
const states = 3;
const inside = 1;
const start = [Math.log(0.5), Math.log(0.5), nothing];
const end = [nothing, 0, 0];
const scope = 'alignment.islands';

/** What follows from frame logits. */
export interface Islands {
  /** `[B, classes]` */
  logits: Value;
  /** `[B, T, classes]`: the probability that a frame lies in an island of an emotion, were the utterance of it; 0 of neutral. */
  occupancies: Value;
}

/**
 * Utterance logits and occupancies. The neutral class goes through the recurrences as the others do, and is left out at the end.
 *
 * @param frameLogits `[B, T, classes]`
 * @param bias `[classes]`
 */
export function islandsGraph(
  graph: Graph,
  frameLogits: Value,
  bias: Value,
  classes: number,
  { neutral, scale, switchingCost }: IslandModel,
): Islands {
  const node = nodesOf(graph);
  const own = node('Gather', [frameLogits, graph.integers(neutral)], { axis: 2 });
  const evidence = node('Mul', [node('Sub', [frameLogits, own]), graph.scalar(scale)]);
  const ofStates = graph.floats(indicator(states, inside), [states]);
  // [B, T, classes, states]
  const emissions = node('Mul', [node('Unsqueeze', [evidence, graph.integers(-1)]), ofStates]);
  const batch = node('Shape', [frameLogits], { start: 0, end: 1 });
  const extents = node('Concat', [batch, graph.integers(classes, states)], { axis: 0 });
  const everywhere = (values: number[]) => node('Expand', [graph.floats(values, [states]), extents]);
  const moves = movesOf(graph, switchingCost);

  const [forward, sums] = graph.scan({
    scope: `${scope}.forward`,
    initial: [everywhere(start)],
    over: [emissions],
    axis: 1,
    step: (inner, [expected], [emission]) => {
      const step = nodesOf(inner);
      const weights = step('Add', [expected!, emission!]);
      const sum = logSum(inner, weights, -1, true);
      const shares = step('Sub', [weights, sum]);
      const from = step('Unsqueeze', [shares, graph.integers(-1)]);
      return { state: [logSum(inner, step('Add', [from, moves]), -2)], collected: [shares, sum] };
    },
  });
  const [backward] = graph.scan({
    scope: `${scope}.backward`,
    initial: [everywhere(end)],
    over: [emissions],
    axis: 1,
    backwards: true,
    step: (inner, [following], [emission]) => {
      const step = nodesOf(inner);
      const weights = step('Add', [following!, emission!]);
      const to = step('Unsqueeze', [weights, graph.integers(-2)]);
      const before = logSum(inner, step('Add', [to, moves]), -1);
      const shares = step('Sub', [before, logSum(inner, before, -1, true)]);
      return { state: [shares], collected: [step('Identity', [following!])] };
    },
  });

  const through = node('Softmax', [node('Add', [forward!, backward!])], { axis: -1 });
  const emotions = graph.floats(
    indicator(classes, neutral).map((one) => 1 - one),
    [classes],
  );
  const occupancies = node('Mul', [node('Gather', [through, graph.integer(inside)], { axis: -1 }), emotions]);
  const last = node('Gather', [forward!, graph.integer(-1)], { axis: 1 });
  const ended = logSum(graph, node('Add', [last, graph.floats(end, [states])]), -1);
  const all = node('Squeeze', [node('ReduceSum', [sums!, graph.integers(1)], { keepdims: 0 }), graph.integers(-1)]);
  const logits = node('Add', [node('Mul', [node('Add', [all, ended]), emotions]), bias]);
  return { logits, occupancies };
}

/**
 * Frame posteriors `[B, T, classes]`: an emotion is in a frame when the utterance has it and the frame lies in an island of it.
 *
 * @param logits `[B, classes]` that decide
 * @param output what the posteriors are called
 * @returns `[B, T, 1]`: how much of a frame is not neutral
 */
export function islandPosteriorsGraph(
  graph: Graph,
  logits: Value,
  occupancies: Value,
  classes: number,
  neutral: number,
  output: Value,
): Value {
  const node = nodesOf(graph);
  const decided = node('Unsqueeze', [node('Softmax', [logits], { axis: -1 }), graph.integers(1)]);
  const emotions = node('Mul', [decided, occupancies]);
  const emotional = node('ReduceSum', [emotions, graph.integers(-1)], { keepdims: 1 });
  const rest = node('Relu', [node('Sub', [graph.scalar(1), emotional])]);
  const ofNeutral = node('Mul', [rest, graph.floats(indicator(classes, neutral), [classes])]);
  graph.node('Add', [emotions, ofNeutral], { scope, output });
  return emotional;
}

type Node = (type: string, inputs: Value[], attributes?: Record<string, number>) => Value;

function nodesOf(graph: Graph): Node {
  return (type, inputs, attributes = {}) => graph.node(type, inputs, { scope, attributes });
}

function logSum(graph: Graph, x: Value, axis: number, keeps = false): Value {
  const attributes = { axes: [axis], keepdims: keeps ? 1 : 0 };
  return graph.node('ReduceLogSumExp', [x], { scope, attributes });
}

/** Logarithms of the probabilities to go from a state to another, `[from, to]`. */
function movesOf(graph: Graph, switchingCost: number): Value {
  const stay = -Math.log1p(Math.exp(-switchingCost));
  const leave = stay - switchingCost;
  const moves = [
    [stay, leave, nothing],
    [nothing, stay, leave],
    [nothing, leave, stay],
  ];
  return graph.floats(moves.flat(), [states, states]);
}

function indicator(count: number, index: number): number[] {
  return Array.from({ length: count }, (_, i) => (i === index ? 1 : 0));
}
