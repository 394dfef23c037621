// Log-mel bands of the sound as ONNX operators (native/model/log_mel.cpp): the spectra of all frames are one convolution, by the
// Hann-windowed waves of those frequencies that a band weighs.

import { EmoframeError } from '../errors.js';
import { largestOf, smallestOf } from '../lists.js';
import type { HubertShape } from '../model/binding.js';
import { roomFor } from '../model/floats.js';
import { Geometry } from '../model/geometry.js';
import type { StoredTensor } from '../model/tensor.js';
import type { Graph, Value } from '../onnx/graph.js';

const window = 400;
const stride = 320;
/** Of the Fourier transform. */
const points = 512;
const lowestHertz = 50;
const highestHertz = 7600;
/** Of samples whose variance is about 1: a silent frame's powers are this. */
const floor = 1e-3;
const scope = 'alignment.log_mel';

/** A triangle over frequencies. */
interface Band {
  /** The first frequency that it weighs, as a point of the Fourier transform. */
  first: number;
  weights: number[];
}

/**
 * From the encoder's input `[B, samples]` to bands `[B, T, bands]`.
 *
 * @throws EmoframeError `ERR_HEAD` for bands that the engine does not know either: of a model with other frames, or too narrow
 */
export function logMelGraph(graph: Graph, shape: HubertShape, bands: number, samples: Value): Value {
  const geometry = new Geometry(shape);
  if (geometry.receptiveField !== window || geometry.stride !== stride) {
    throw new EmoframeError(
      'ERR_HEAD',
      `The alignment network reads log-mel bands of frames of ${window} samples every ${stride}, but the model's frames are ${geometry.receptiveField} samples every ${geometry.stride}: the two do not belong together.`,
    );
  }
  const triangles = trianglesOf(bands);
  const first = smallestOf(triangles.map((band) => band.first));
  const count = largestOf(triangles.map((band) => band.first + band.weights.length)) - first;
  const node = (type: string, inputs: Value[], attributes = {}) => graph.node(type, inputs, { scope, attributes });
  const spectra = node('Conv', [node('Unsqueeze', [samples, graph.integers(1)]), graph.weight(waves(first, count))], {
    kernel_shape: [window],
    strides: [stride],
  });
  // [B, 2, frequencies, T], of cosines and of sines.
  const parts = node('Reshape', [spectra, graph.integers(0, 2, count, -1)]);
  const powers = node('ReduceSumSquare', [parts], { axes: [1], keepdims: 0 });
  const summed = node('MatMul', [graph.weight(filters(triangles, first, count)), powers]);
  const logarithms = node('Log', [node('Add', [summed, graph.scalar(floor)])]);
  return node('Transpose', [logarithms], { perm: [0, 2, 1] });
}

/** On the HTK scale, of height 1. */
function trianglesOf(bands: number): Band[] {
  const mel = (hertz: number) => 2595 * Math.log10(1 + hertz / 700);
  const step = (mel(highestHertz) - mel(lowestHertz)) / (bands + 1);
  const edge = (i: number) => 700 * (10 ** ((mel(lowestHertz) + step * i) / 2595) - 1);
  const spacing = Geometry.sampleRate / points;
  return Array.from({ length: bands }, (_, band) => {
    const [low, peak, high] = [edge(band), edge(band + 1), edge(band + 2)];
    const first = Math.floor(low / spacing) + 1;
    const weights: number[] = [];
    for (let hertz = first * spacing; hertz < high; hertz += spacing)
      weights.push(Math.min((hertz - low) / (peak - low), (high - hertz) / (high - peak)));
    if (weights.length > 0) return { first, weights };
    throw new EmoframeError(
      'ERR_HEAD',
      `The alignment network's melBands are ${bands}, so many that some are narrower than a bin of the spectrum.`,
    );
  });
}

/** `[2 count, 1, window]`: cosines of frequencies, then their sines. */
function waves(first: number, count: number): StoredTensor {
  return {
    name: `${scope}.waves`,
    shape: [2 * count, 1, window],
    read: async (into) => {
      const out = roomFor(2 * count * window, into);
      for (let n = 0; n < window; n++) {
        const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (window - 1));
        for (let k = 0; k < count; k++) {
          const angle = (2 * Math.PI * (((first + k) * n) % points)) / points;
          out[k * window + n] = hann * Math.cos(angle);
          out[(count + k) * window + n] = hann * Math.sin(angle);
        }
      }
      return out;
    },
  };
}

/** `[bands, count]`. */
function filters(triangles: readonly Band[], first: number, count: number): StoredTensor {
  return {
    name: `${scope}.filters`,
    shape: [triangles.length, count],
    read: async (into) => {
      const out = roomFor(triangles.length * count, into).fill(0);
      for (const [band, { first: begin, weights }] of triangles.entries())
        out.set(weights, band * count + begin - first);
      return out;
    },
  };
}
