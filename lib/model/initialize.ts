import { PhiloxStream } from '../random/philox.js';
import { yieldWhenDue } from '../yield.js';
import type { TensorInfo } from './binding.js';
import { roomFor } from './floats.js';
import { elementsOf, type StoredTensor } from './tensor.js';

// Streams of weights start here, apart from those of masks and draws.
const firstSite = 0x50000000;
const directionsName = 'encoder.pos_conv_embed.conv.parametrizations.weight.original1';
const magnitudesName = 'encoder.pos_conv_embed.conv.parametrizations.weight.original0';

/** Tensors of heads that start as PyTorch's modules do, biases too. */
const asPyTorch = /^(?:alignment|projector|pooling\.linear|dense)\.|^layer_weights$/;

/**
 * Elements between two looks at the clock: few, as the first are drawn before V8 has compiled the loop; even, as normal numbers
 * come in pairs.
 */
const chunkSize = 2048;

/**
 * Starting values of a model's tensors, a pure function of the list and `seed`. Linear layers of the encoder are N(0, 0.02²)
 * and convolutions He-normal as in transformers' `HubertModel`; the positional convolution is N(0, 4 / (kernel · channels)) as
 * in fairseq, its magnitudes those of its directions; several positional convolutions are He-normal too; WavLM's gates and the
 * factors of slopes are 1, and of the tokens of data2vec 2.0 the first is 0 and the others N(0, 1). Weights of the heads are as
 * PyTorch's `Linear`, as are the scores of attentive statistics; label embeddings and other pooling weights are U[0, 1) as in HuBERT
 * and HFLEA; biases are zero. The alignment head, and a pooled head's projector, dense layers and network of scores, are as PyTorch's
 * modules, with biases as their weights, and with no preference among layers at first.
 *
 * @param infos all tensors of the model, in its order, which decides each one's numbers
 * @param wanted which of them to draw; the positional convolution's magnitudes need its directions
 * @returns tensors that are drawn when they are read
 * @example
 * await model.importTensors(initialTensors(model.tensors(), 1));
 */
export function initialTensors(
  infos: TensorInfo[],
  seed: number,
  wanted: (name: string) => boolean = () => true,
): StoredTensor[] {
  const fanIns = new Map(
    infos.map(({ name, shape }) => [name, shape.slice(1).reduce((product, side) => product * side, 1)]),
  );
  const scoresAreLinear = fanIns.has('pooling.linear.weight');
  const drawn = infos
    .map((info, index): StoredTensor => {
      const stream = () => new PhiloxStream(seed, 0, firstSite + index);
      return {
        name: info.name,
        shape: info.shape,
        read: (into) => {
          const values = roomFor(elementsOf(info), into);
          if (!asPyTorch.test(info.name)) return draw(info, stream(), values, scoresAreLinear);
          return drawAsPyTorch(info, fanIns.get(info.name.replace(/bias$/, 'weight')), stream(), values);
        },
      };
    })
    .filter(({ name }) => wanted(name));
  const directions = drawn.find(({ name }) => name === directionsName);
  const magnitudes = drawn.find(({ name }) => name === magnitudesName);
  if (directions && magnitudes) {
    magnitudes.read = async (into) => {
      const values = roomFor(elementsOf(magnitudes), into);
      values.set(await tapNorms(directions.shape, await directions.read()));
      return values;
    };
  }
  return drawn;
}

/** Over all of `values`, which may hold anything. */
async function draw(
  { name, shape }: TensorInfo,
  stream: PhiloxStream,
  values: Float32Array,
  scoresAreLinear: boolean,
): Promise<Float32Array> {
  if (name === 'pooling.weight' && scoresAreLinear) {
    const bound = 1 / Math.sqrt(values.length);
    return uniform(stream, values, -bound, bound);
  }
  if (name === 'masked_spec_embed' || name === 'label_embs_concat' || name === 'pooling.weight')
    return uniform(stream, values, 0, 1);
  const [outputs = 1, inputs = 1, kernel = 1] = shape;
  if (name === 'final_proj.weight' || name === 'classifier.weight') {
    const bound = 1 / Math.sqrt(inputs);
    return uniform(stream, values, -bound, bound);
  }
  if (name.endsWith('.bias')) return values.fill(0);
  if (name.includes('layer_norm') || name === 'encoder.alibi_scale' || name.endsWith('gru_rel_pos_const'))
    return values.fill(1);
  if (name === 'encoder.extra_tokens') {
    await normal(stream, values, 1);
    return values.fill(0, 0, inputs);
  }
  if (name === directionsName) return normal(stream, values, Math.sqrt(4 / (kernel * outputs)));
  if (name.includes('conv_layers') || name.startsWith('encoder.pos_conv_embed.layers.'))
    return normal(stream, values, Math.sqrt(2 / (inputs * kernel)));
  return normal(stream, values, 0.02);
}

/** Of linear layers and convolutions U(±1 / √fan-in), weights and biases; norms are the identity, weights of layers 0. */
async function drawAsPyTorch(
  { name }: TensorInfo,
  fanIn: number | undefined,
  stream: PhiloxStream,
  values: Float32Array,
): Promise<Float32Array> {
  if (name.endsWith('.input_factor')) return values.fill(1);
  if (name.includes('norm.')) return values.fill(name.endsWith('.weight') ? 1 : 0);
  if (fanIn === undefined || name.endsWith('_weights') || name.endsWith('.input_mean')) return values.fill(0);
  const bound = 1 / Math.sqrt(fanIn);
  return uniform(stream, values, -bound, bound);
}

/** `[first, end)` of each chunk of so many elements, with room for the event loop before each. */
async function* chunksOf(size: number): AsyncGenerator<[first: number, end: number]> {
  for (let first = 0; first < size; first += chunkSize) {
    await yieldWhenDue();
    yield [first, Math.min(first + chunkSize, size)];
  }
}

// ‖v‖ of each tap over the first two dimensions of [out, in, kernel].
async function tapNorms([, , kernel = 1]: number[], data: Float32Array): Promise<Float32Array> {
  const squares = new Float64Array(kernel);
  for await (const [first, end] of chunksOf(data.length)) {
    // Within bounds, in a loop over all elements.
    for (let i = first; i < end; i++) squares[i % kernel]! += data[i]! * data[i]!;
  }
  return Float32Array.from(squares, Math.sqrt);
}

async function uniform(stream: PhiloxStream, out: Float32Array, low: number, high: number): Promise<Float32Array> {
  for await (const [first, end] of chunksOf(out.length)) {
    for (let i = first; i < end; i++) out[i] = low + (high - low) * stream.uniform();
  }
  return out;
}

// Box–Muller, both halves used.
async function normal(stream: PhiloxStream, out: Float32Array, deviation: number): Promise<Float32Array> {
  for await (const [first, end] of chunksOf(out.length)) {
    for (let i = first; i < end; i += 2) {
      const radius = deviation * Math.sqrt(-2 * Math.log(1 - stream.uniform()));
      const angle = 2 * Math.PI * stream.uniform();
      out[i] = radius * Math.cos(angle);
      if (i + 1 < end) out[i + 1] = radius * Math.sin(angle);
    }
  }
  return out;
}
