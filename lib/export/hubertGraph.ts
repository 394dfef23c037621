// The encoder, HuBERT or one of its family, as ONNX operators, in the order of its layers. Names of operators and weights are those of transformers' modules.
// Shapes are for a batch of B utterances of one length: the graph has no attention mask, and needs none for them.
import type { Normalization } from '../audio/normalize.js';
import type { SoundStatistics } from '../model/alignment.js';
import type { Graph, Value } from '../onnx/graph.js';
import { gelu, layerNorm, linear, type Parts, standardized, swapped } from './layers.js';
import { gatedBias, positionalConvs, positionBias } from './positionGraph.js';

/** Of the feature encoder's own norms, whatever `layer_norm_eps` says. */
const featureEpsilon = 1e-5;

/** What of the transformer is wanted. */
interface Depth {
  /** The layer of the last hidden state, 0 being what the first layer reads; or the model's output. */
  layer: number | 'output';
  /** Whether the hidden states before it are wanted too. */
  all?: boolean;
  /** `[B, T]`: 1 for frames that there are, 0 for others, which are zeros and which nothing attends to; absent: all are. */
  exists?: Value;
}

/** Added to the scores of frames that are not to be attended to: their exponential is 0. */
const outOfReach = -1e9;
/** The last index of an axis, whatever its length. */
const toTheEnd = 2 ** 31 - 1;

/**
 * The model's input `[B, samples]`, normalised if the model needs it.
 *
 * @param sound as the model expects it; or statistics by which it is brought to the model in place of its own
 */
export function broughtSamples(graph: Graph, samples: Value, sound: Normalization | SoundStatistics): Value {
  const byOwn = (epsilon: number) => standardized(graph, samples, 'normalize', [1], epsilon);
  if (typeof sound === 'boolean') return sound ? byOwn(1e-7) : samples;
  if ('epsilon' in sound) return byOwn(sound.epsilon);
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
  const { shape } = parts;
  const scope = 'feature_projection';
  const epsilon = shape.featureProjectionEpsilon ?? shape.layerNormEpsilon;
  const normed = shape.featureProjectionLayerNorm
    ? layerNorm(parts, features, `${scope}.layer_norm`, epsilon)
    : features;
  return linear(parts, normed, `${scope}.projection`);
}

/** Projected features `[B, T, C]` to the hidden state `[B, T, C]` that is wanted, after those of the layers before it if they are too. */
export function transformer(parts: Parts, projected: Value, { layer, all = false, exists }: Depth): Value[] {
  const { graph, shape } = parts;
  const preNorm = shape.stableLayerNorm;
  const mask = exists === undefined ? undefined : masksOf(parts, exists);
  const positions = positionalConvs(parts, projected, mask?.column);
  let x = withExtraTokens(parts, graph.node('Add', [projected, positions], { scope: 'encoder' }));
  if (!preNorm) x = norm(parts, x, 'encoder.layer_norm');
  const layers = layer === 'output' ? shape.layers : layer;
  const bias = layers === 0 ? undefined : positionBias(parts, x);
  const states = [x];
  for (let i = 0; i < layers; i++) {
    const scope = `encoder.layers.${i}`;
    const residual = (before: Value, work: (x: Value) => Value, named: string): Value => {
      const input = preNorm ? norm(parts, before, named) : before;
      const sum = graph.node('Add', [before, work(input)], { scope });
      return preNorm ? sum : norm(parts, sum, named);
    };
    const attend = (input: Value) => attention(parts, input, `${scope}.attention`, { bias, mask: mask?.scores });
    x = residual(x, attend, `${scope}.layer_norm`);
    x = residual(x, (input) => feedForward(parts, input, `${scope}.feed_forward`), `${scope}.final_layer_norm`);
    states.push(x);
  }
  // The output takes the place of the last layer's own.
  if (preNorm && layer === 'output') states.splice(-1, 1, norm(parts, x, 'encoder.layer_norm'));
  return (all ? states : states.slice(-1)).map((state) => withoutExtraTokens(parts, state));
}

/** Of frames that there are `[B, T]`: a column of them `[B, T, 1]`, and what is added to scores of attention `[B, 1, 1, T]`. */
function masksOf({ graph, shape }: Parts, exists: Value): { column: Value; scores: Value } {
  const scope = 'encoder.mask';
  const node = (type: string, inputs: Value[]) => graph.node(type, inputs, { scope });
  const apart = node('Mul', [node('Sub', [graph.scalar(1), exists]), graph.scalar(outOfReach)]);
  const { extraTokens } = shape;
  const all = extraTokens === undefined ? apart : node('Pad', [apart, graph.integers(0, extraTokens, 0, 0)]);
  return {
    column: node('Unsqueeze', [exists, graph.integers(-1)]),
    scores: node('Unsqueeze', [all, graph.integers(1, 2)]),
  };
}

const tokens = 'encoder.extra_tokens';

/** `[B, T, C]`, after the rows that the model puts before every utterance. */
function withExtraTokens({ graph, weights, shape }: Parts, x: Value): Value {
  const { extraTokens, hiddenSize } = shape;
  if (extraTokens === undefined) return x;
  const node = (type: string, inputs: Value[], attributes = {}) =>
    graph.node(type, inputs, { scope: tokens, attributes });
  const batch = node('Shape', [x], { start: 0, end: 1 });
  const extents = node('Concat', [batch, graph.integers(extraTokens, hiddenSize)], { axis: 0 });
  const rows = node('Expand', [graph.weight(weights.get(tokens)), extents]);
  return node('Concat', [rows, x], { axis: 1 });
}

function withoutExtraTokens({ graph, shape }: Parts, x: Value): Value {
  const { extraTokens } = shape;
  if (extraTokens === undefined) return x;
  const range = [graph.integers(extraTokens), graph.integers(toTheEnd), graph.integers(1)];
  return graph.node('Slice', [x, ...range], { scope: tokens });
}

/** What attention adds to its scores: by distance `[H, T, T]`, and to keep frames out of it `[B, 1, 1, T]`. */
interface Scores {
  bias: Value | undefined;
  mask: Value | undefined;
}

function attention(parts: Parts, x: Value, scope: string, { bias, mask }: Scores): Value {
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
  let scores = graph.node('MatMul', [q, k], { scope });
  const added = bias === undefined ? [] : [gatedBias(parts, bias, x, scope)];
  for (const term of mask === undefined ? added : [...added, mask])
    scores = graph.node('Add', [scores, term], { scope });
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
