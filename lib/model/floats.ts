import { binding } from './binding.js';

/** 1 MiB: what V8 takes a noticeable time to free. */
const largeElements = 1 << 18;
/** 4 GiB, more than any tensor; what a damaged file asks for beyond it is V8's to refuse. */
const mostElements = 1 << 30;

/**
 * Zeros for a tensor. Large ones lie in memory that is given back on another thread. Errors: `RangeError` when there is not so much.
 */
export function newFloats(count: number): Float32Array<ArrayBuffer> {
  const large = count >= largeElements && count <= mostElements ? binding().largeFloats(count) : undefined;
  return large ?? new Float32Array(count);
}

/** The front of `into` when it has room for so many values, else an array of their own. */
export function roomFor(count: number, into: Float32Array | undefined, allocate = newFloats): Float32Array {
  return into && into.length >= count ? into.subarray(0, count) : allocate(count);
}
