// The pooled head as ONNX operators, in the order of its layers: sum over hidden states, norm, projector, pooling, dense layers, output;
// and the same head on frames.
import type { ClassifierOptions } from '../model/binding.js';
import type { Value } from '../onnx/graph.js';
import { layerNorm, linear, type Parts, plainLayerNorm, standardized, weightedSum } from './layers.js';
import { poolingGraph } from './poolingGraph.js';

/** Of the head's norms. */
const epsilon = 1e-5;

/** What the outputs of the whole graph are called. */
interface Outputs {
  attention: Value;
  /** Of the utterance `[B, K]`; absent: something else decides. */
  utterance?: Value;
  /** Of each frame `[B, T, K]`; absent: not wanted. */
  frames?: Value;
}

/**
 * Hidden states, each `[B, T, C]`, to outputs of the utterance `[B, K]`.
 *
 * @param states those that the head reads: all, or the model's output alone
 * @param calibration multiplies the outputs of the utterance
 */
export function classifierGraph(
  parts: Parts,
  options: ClassifierOptions,
  states: readonly Value[],
  calibration: number,
  outputs: Outputs,
): Value {
  const { graph } = parts;
  const scope = 'classifier';
  const node = (type: string, inputs: Value[], more = {}) => graph.node(type, inputs, { scope, ...more });
  const x = poolingInput(parts, options, states);
  const pooled = poolingGraph(parts, options.pooling, x, outputs.attention);
  const decided = decision(parts, options, pooled.utterance);
  const calibrated = calibration === 1 ? decided : node('Mul', [decided, graph.scalar(calibration)]);
  const named = outputs.utterance === undefined ? {} : { output: outputs.utterance };
  if (outputs.frames !== undefined) {
    const frames =
      options.frames === undefined
        ? // Of every frame, too, the deviations are the utterance's.
          decision(parts, options, [x, ...pooled.utterance.slice(1)])
        : nearest(parts, decision(parts, options, pooled.windows(options.frames)), x, options.frames.hop);
    if (options.task === 'regression') node('Identity', [frames], { output: outputs.frames });
    else node('Softmax', [frames], { attributes: { axis: -1 }, output: outputs.frames });
  }
  return node('Squeeze', [calibrated, graph.integers(1)], named);
}

/** `[B, T, P]` */
function poolingInput(parts: Parts, options: ClassifierOptions, states: readonly Value[]): Value {
  const { graph, shape } = parts;
  let x = options.source === 'layers' ? weightedSum(parts, states, 'layer_weights') : states.at(-1)!;
  if (options.inputNorm === 'frame') x = plainLayerNorm(parts, x, 'input_norm', shape.hiddenSize, epsilon);
  if (options.inputNorm === 'utterance') x = standardized(graph, x, 'input_norm', [1, 2], epsilon);
  return options.projector === undefined ? x : linear(parts, x, 'projector');
}

/** What is pooled, in parts of equal width `[B, rows, P]`, to outputs `[B, rows, K]`. */
function decision(parts: Parts, { dense = [], bias = true }: ClassifierOptions, pooled: readonly Value[]): Value {
  let inputs = pooled;
  for (const [i, layer] of dense.entries()) {
    const scope = `dense.${i}`;
    let y = linearOf(parts, inputs, scope, true);
    if (layer.norm) y = layerNorm(parts, y, `${scope}.norm`, epsilon);
    if (layer.activation !== 'none')
      y = parts.graph.node(layer.activation === 'tanh' ? 'Tanh' : 'Relu', [y], { scope });
    inputs = [y];
  }
  return linearOf(parts, inputs, 'classifier', bias);
}

/** A linear layer over inputs that lie one behind another; each has its own columns of the weights. */
function linearOf(parts: Parts, inputs: readonly Value[], scope: string, bias: boolean): Value {
  const { graph, weights } = parts;
  if (inputs.length === 1 && bias) return linear(parts, inputs[0]!, scope);
  const name = `${scope}.weight`;
  const count = weights.get(name).shape[1]! / inputs.length;
  const terms = inputs.map((input, i) => {
    const columns = inputs.length === 1 ? undefined : { first: i * count, count };
    return graph.node('MatMul', [input, graph.weight(weights.transposed(name, columns))], { scope });
  });
  if (bias) terms.push(graph.weight(weights.get(`${scope}.bias`)));
  // From the right: of all rows, what comes behind the first input is often the same.
  return terms.reduceRight((sum, term) => graph.node('Add', [term, sum], { scope }));
}

/** Outputs of windows `[B, windows, K]` to those of frames `[B, T, K]`: of the nearest window, of two the earlier. */
function nearest({ graph }: Parts, windows: Value, x: Value, hop: number): Value {
  const node = (type: string, inputs: Value[], attributes = {}) =>
    graph.node(type, inputs, { scope: 'frames', attributes });
  const extent = (of: Value) => node('Squeeze', [node('Shape', [of], { start: 1, end: 2 }), graph.integers(0)]);
  const places = node('Range', [graph.integer(0), extent(x), graph.integer(1)]);
  const rounded = node('Div', [node('Add', [places, graph.integer(Math.floor((hop - 1) / 2))]), graph.integer(hop)]);
  const last = node('Sub', [extent(windows), graph.integer(1)]);
  return node('Gather', [windows, node('Min', [rounded, last])], { axis: 1 });
}
