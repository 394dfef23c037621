// The alignment network as ONNX operators, in the order of its layers (native/model/alignment_network.cpp): it computes a
// frame's logits from the frame's neighbourhood only.
import type { AlignmentSettings } from '../model/alignment.js';
import type { Value } from '../onnx/graph.js';
import { transformer } from './hubertGraph.js';
import { gelu, layerNorm, linear, type Parts, swapped, weightedSum } from './layers.js';
import { logMelGraph } from './logMelGraph.js';

/** Of the network's own norms, whatever `layer_norm_eps` says. */
const epsilon = 1e-5;
const root = 'alignment';

/** The possible inputs of the network; only those that it uses become operators. */
export interface Inputs {
  /** `[B, samples]`: the feature encoder's input. */
  samples: () => Value;
  /** `[B, T, channels]`, of the feature encoder. */
  features: () => Value;
  /** `[B, T, C]`, of the feature projection. */
  projected: () => Value;
}

/** Frame logits `[B, T, classes]`. */
export function alignmentGraph(parts: Parts, settings: AlignmentSettings, inputs: Inputs): Value {
  const { graph, weights } = parts;
  const own = (name: string) => graph.weight(weights.get(`${root}.${name}`));
  const input = networkInput(parts, settings, inputs);
  const centred = graph.node('Sub', [input, own('input_mean')], { scope: root });
  const standardized = graph.node('Mul', [centred, own('input_factor')], { scope: root });
  let x = linear(parts, standardized, `${root}.projection`);
  for (const [i, half] of settings.halfWidths.entries()) {
    const scope = `${root}.blocks.${i}`;
    const inputs = [swapped(parts, layerNorm(parts, x, `${scope}.norm`, epsilon), scope)];
    for (const part of ['weight', 'bias']) inputs.push(graph.weight(weights.get(`${scope}.conv.${part}`)));
    const attributes = { kernel_shape: [2 * half + 1], pads: [half, half] };
    const y = graph.node('Conv', inputs, { scope: `${scope}.conv`, attributes });
    x = graph.node('Add', [x, swapped(parts, gelu(parts, y, scope), scope)], { scope });
  }
  return linear(parts, layerNorm(parts, x, `${root}.norm`, epsilon), `${root}.output`);
}

/** The network's input: the columns of its source, then log-mel bands. */
function networkInput(parts: Parts, settings: AlignmentSettings, inputs: Inputs): Value {
  const source = settings.source === 'features' ? inputs.features() : overChunks(parts, settings, inputs.projected());
  if (settings.melBands === 0) return source;
  const { graph, shape } = parts;
  const bands = logMelGraph(graph, shape, settings.melBands, inputs.samples());
  return graph.node('Concat', [source, bands], { scope: root, attributes: { axis: -1 } });
}

/**
 * Hidden states `[B, T, C]` of the transformer, chunk by chunk, each chunk with some frames of context on either side.
 * All chunks are as long in the graph: frames that an utterance does not have are zeros, as they are to its convolution, and
 * nothing attends to them.
 */
function overChunks(parts: Parts, settings: AlignmentSettings, projected: Value): Value {
  const { graph, shape } = parts;
  const scope = `${root}.chunks`;
  const node = (type: string, inputs: Value[], attributes = {}) => graph.node(type, inputs, { scope, attributes });
  const width = shape.hiddenSize;
  const { chunkFrames, contextFrames } = settings;
  const length = chunkFrames + 2 * contextFrames;
  const batch = node('Shape', [projected], { start: 0, end: 1 });
  const frames = node('Shape', [projected], { start: 1, end: 2 });
  const count = node('Div', [node('Add', [frames, graph.integer(chunkFrames - 1)]), graph.integer(chunkFrames)]);

  // [chunks, length]: the frame at each place, and whether there is one.
  const upTo = (end: Value) => node('Range', [graph.integer(0), end, graph.integer(1)]);
  const first = node('Mul', [upTo(node('Squeeze', [count, graph.integers(0)])), graph.integer(chunkFrames)]);
  const place = node('Sub', [upTo(graph.integer(length)), graph.integer(contextFrames)]);
  const frame = node('Add', [node('Unsqueeze', [first, graph.integers(1)]), place]);
  const exists = node('And', [node('GreaterOrEqual', [frame, graph.integer(0)]), node('Less', [frame, frames])]);
  const index = node('Where', [exists, frame, graph.integer(0)]);
  const there = node('Where', [exists, graph.scalar(1), graph.scalar(0)]);

  const gathered = node('Gather', [projected, index], { axis: 1 });
  const zeroed = node('Mul', [gathered, node('Unsqueeze', [there, graph.integers(-1)])]);
  const chunks = node('Reshape', [zeroed, graph.integers(-1, length, width)]);
  const each = node('Expand', [there, node('Concat', [batch, count, graph.integers(length)], { axis: 0 })]);
  const apart = node('Reshape', [each, graph.integers(-1, length)]);
  const all = settings.source === 'layers';
  const states = transformer(parts, chunks, { layer: settings.layer, all, exists: apart });
  const hidden = all ? weightedSum(parts, states, `${root}.layer_weights`) : states[0]!;
  const kept =
    contextFrames === 0
      ? hidden
      : node('Slice', [
          hidden,
          graph.integers(contextFrames),
          graph.integers(contextFrames + chunkFrames),
          graph.integers(1),
        ]);
  const joined = node('Reshape', [kept, node('Concat', [batch, graph.integers(-1, width)], { axis: 0 })]);
  return node('Slice', [joined, graph.integers(0), frames, graph.integers(1)]);
}
