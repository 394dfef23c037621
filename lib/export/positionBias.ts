// Biases of attention scores by the distance from query to key, as numbers.
import { roomFor } from '../model/floats.js';
import type { StoredTensor } from '../model/tensor.js';

/** ALiBi's slopes of the heads: 2^(−8/n · h), h from 1 to n, where n is a power of two; else those of the lower power, then every second of the double. */
export function slopesOf(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads));
  const of = (n: number) => Array.from({ length: n }, (_, h) => 2 ** ((-8 * (h + 1)) / n));
  const between = of(2 * power).filter((_, h) => h % 2 === 0);
  return [...of(power), ...between.slice(0, heads - power)];
}

/**
 * T5's bucket of a distance: one of half of them for keys before the query and the query itself, of the other half for those after
 * it. Half of either half have one distance each; those of the rest grow with the logarithm, and the last is of all that is at
 * least `reach` away. In float32, as PyTorch computes them.
 */
export function bucketOf(distance: number, { buckets, reach }: { buckets: number; reach: number }): number {
  const side = Math.floor(buckets / 2);
  const exact = Math.floor(side / 2);
  const far = Math.abs(distance);
  const first = distance > 0 ? side : 0;
  if (far < exact) return first + far;
  const f32 = Math.fround;
  const share = f32(f32(Math.log(f32(far / exact))) / f32(Math.log(reach / exact)));
  return first + Math.min(Math.floor(f32(exact + f32(share * (side - exact)))), side - 1);
}

/** From values of buckets `[buckets, H]` to those of distances `[H, 2 reach + 1]`, from -reach to reach. */
export function distanceTable(embedding: StoredTensor, shape: { buckets: number; reach: number }): StoredTensor {
  const heads = embedding.shape[1]!;
  const { reach } = shape;
  const width = 2 * reach + 1;
  return {
    name: `${embedding.name}[distances]`,
    shape: [heads, width],
    read: async (into) => {
      const values = Float32Array.from(await embedding.read());
      const out = roomFor(heads * width, into);
      for (let distance = -reach; distance <= reach; distance++) {
        const row = heads * bucketOf(distance, shape);
        for (let h = 0; h < heads; h++) out[h * width + distance + reach] = values[row + h]!;
      }
      return out;
    },
  };
}
