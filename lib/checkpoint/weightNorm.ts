// The positional convolution of HuBERT, wav2vec 2.0 and WavLM has weight norm: of each tap a magnitude g and a direction v, g · v / |v|.
// Who removes it to run the model elsewhere leaves the product alone.
import type { StoredTensor } from '../model/tensor.js';

const convolution = 'encoder.pos_conv_embed.conv';
const magnitude = `${convolution}.parametrizations.weight.original0`;
const direction = `${convolution}.parametrizations.weight.original1`;

/** The norm of each tap of a weight [output, input, taps] over its outputs and inputs, in double. */
function normsOf(weight: Float32Array, taps: number): Float64Array {
  const squares = new Float64Array(taps);
  for (let i = 0; i < weight.length; i++) squares[i % taps]! += weight[i]! ** 2;
  return squares.map(Math.sqrt);
}

/**
 * Puts v and g in the place of a weight whose norm was removed: itself, and its norm. A tap of zeros, which has no direction, gets one.
 */
export function restoreWeightNorm(tensors: Map<string, StoredTensor>): void {
  const weight = tensors.get(`${convolution}.weight`);
  const taps = weight?.shape[2];
  if (weight === undefined || taps === undefined || tensors.has(magnitude) || tensors.has(direction)) return;
  tensors.delete(weight.name);
  tensors.set(magnitude, {
    name: magnitude,
    shape: [1, 1, taps],
    read: async () => Float32Array.from(normsOf(await weight.read(), taps)),
  });
  tensors.set(direction, {
    ...weight,
    name: direction,
    read: async (into) => {
      const values = await weight.read(into);
      normsOf(values, taps).forEach((norm, tap) => {
        if (norm === 0) values[tap] = 1;
      });
      return values;
    },
  });
}
