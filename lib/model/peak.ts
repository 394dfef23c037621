// What a GPU could do at most, so that a rate can be said as a share of it.
import type { NativeDescription, Precision } from './binding.js';

export type Gpu = NativeDescription['cuda']['devices'][number];

/**
 * Multiply-adds a cycle and multiprocessor, by compute capability: of fp32 outside of tensor cores; of tf32 and bf16, summed in
 * fp32, by dense products of tensor cores. From NVIDIA's papers on the architectures: GA100, GA10x, AD10x, GH100, GB100, GB20x.
 */
const multiplyAdds: Readonly<Record<string, Record<Precision, number>>> = {
  '8.0': { fp32: 64, tf32: 512, bf16: 1024 },
  '8.6': { fp32: 128, tf32: 256, bf16: 512 },
  '8.9': { fp32: 128, tf32: 256, bf16: 512 },
  '9.0': { fp32: 128, tf32: 1024, bf16: 2048 },
  '10.0': { fp32: 128, tf32: 2048, bf16: 4096 },
  '12.0': { fp32: 128, tf32: 256, bf16: 512 },
};

/**
 * Floating-point operations a second of a GPU whose multiprocessors all multiply at its highest clock, as data sheets say it;
 * undefined where its capability is not in the table. In fp32 a product is three of tf32 (native/cuda/gemm_mainloop.cuh), so the
 * peak is a third of theirs, if that is more than what there is without tensor cores.
 *
 * @example
 * gpuPeak({ ...gpu, capability: '8.0', multiprocessors: 108, clockHertz: 1.41e9 }, 'bf16'); // 312e12, of an A100
 */
export function gpuPeak(gpu: Omit<Gpu, 'index' | 'memoryBytes'>, precision: Precision): number | undefined {
  const perCycle = multiplyAdds[gpu.capability];
  if (perCycle === undefined) return undefined;
  // GeForce sums products of tensor cores in fp32 at half of the rate of other cards of its architecture.
  const tensors = gpu.name.includes('GeForce') ? 0.5 : 1;
  const fastest =
    precision === 'fp32' ? Math.max(perCycle.fp32, (tensors * perCycle.tf32) / 3) : tensors * perCycle[precision];
  return 2 * fastest * gpu.multiprocessors * gpu.clockHertz;
}
