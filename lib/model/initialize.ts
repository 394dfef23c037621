import { PhiloxStream } from '../random/philox.js';
import type { TensorInfo } from './binding.js';
import type { Tensor } from './tensor.js';

// Streams of weights start here, apart from those of masks and draws.
const firstSite = 0x50000000;
const directionsName = 'encoder.pos_conv_embed.conv.parametrizations.weight.original1';
const magnitudesName = 'encoder.pos_conv_embed.conv.parametrizations.weight.original0';

/**
 * Starting values of a model's tensors, a pure function of the list and `seed`. Linear layers of the encoder are N(0, 0.02²)
 * and convolutions He-normal as in transformers' `HubertModel`; the positional convolution is N(0, 4 / (kernel · channels)) as
 * in fairseq, its magnitudes those of its directions; weights of the heads are as PyTorch's `Linear`; label embeddings and pooling
 * weights are U[0, 1) as in HuBERT and HFLEA; biases are zero.
 *
 * @example
 * await model.importTensors(initialTensors(model.tensors(), 1));
 */
export function initialTensors(infos: TensorInfo[], seed: number): Tensor[] {
  const tensors = infos.map((info, index) => ({
    name: info.name,
    shape: info.shape,
    data: draw(info, new PhiloxStream(seed, 0, firstSite + index)),
  }));
  const directions = tensors.find(({ name }) => name === directionsName);
  const magnitudes = tensors.find(({ name }) => name === magnitudesName);
  if (directions && magnitudes) magnitudes.data.set(tapNorms(directions));
  return tensors;
}

function draw({ name, shape }: TensorInfo, stream: PhiloxStream): Float32Array {
  const size = shape.reduce((product, side) => product * side, 1);
  if (name === 'masked_spec_embed' || name === 'label_embs_concat' || name === 'pooling.weight')
    return uniform(stream, size, 0, 1);
  if (name === 'final_proj.weight' || name === 'classifier.weight') {
    const bound = 1 / Math.sqrt(shape[1]!);
    return uniform(stream, size, -bound, bound);
  }
  if (name.endsWith('.bias')) return new Float32Array(size);
  if (name.includes('layer_norm')) return new Float32Array(size).fill(1);
  if (name === directionsName) return normal(stream, size, Math.sqrt(4 / (shape[2]! * shape[0]!)));
  if (name.includes('conv_layers')) return normal(stream, size, Math.sqrt(2 / (shape[1]! * shape[2]!)));
  return normal(stream, size, 0.02);
}

// ‖v‖ of each tap over the first two dimensions of [out, in, kernel].
function tapNorms({ shape, data }: Tensor): Float32Array {
  const kernel = shape[2]!;
  const squares = new Float64Array(kernel);
  for (let i = 0; i < data.length; i++) squares[i % kernel]! += data[i]! * data[i]!;
  return Float32Array.from(squares, Math.sqrt);
}

function uniform(stream: PhiloxStream, size: number, low: number, high: number): Float32Array {
  const out = new Float32Array(size);
  for (let i = 0; i < size; i++) out[i] = low + (high - low) * stream.uniform();
  return out;
}

// Box–Muller, both halves used.
function normal(stream: PhiloxStream, size: number, deviation: number): Float32Array {
  const out = new Float32Array(size);
  for (let i = 0; i < size; i += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log(1 - stream.uniform()));
    const angle = 2 * Math.PI * stream.uniform();
    out[i] = radius * Math.cos(angle);
    if (i + 1 < size) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}
