// The one rule for arrays of a caller that work reads after the call: their values are copied when they are given. Until the work
// is done their buffer may be written to, shrunk, detached, or transferred to another thread.
import { EmoframeError } from './errors.js';

/** Of all typed arrays. What a subclass or a property says in their place is not asked. */
const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;
const getter = (name: string) => Object.getOwnPropertyDescriptor(typedArray, name)!.get!;
const [lengthOf, bufferOf, offsetOf] = ['length', 'buffer', 'byteOffset'].map(getter) as [
  (this: unknown) => number,
  (this: unknown) => ArrayBufferLike,
  (this: unknown) => number,
];

/**
 * The values that an array of floats has now, in memory of our own.
 *
 * @param what of the caller's it is, in errors
 * @param allocate makes that memory
 * @throws `ERR_ARGUMENT` when its buffer is detached, or shrank so that the array lies beyond its end
 */
export function ownFloats(
  values: Float32Array,
  what: string,
  allocate: (count: number) => Float32Array = (count) => new Float32Array(count),
): Float32Array {
  const length = lengthInBuffer(values, what);
  const copy = allocate(length);
  // Memory that is shared may grow meanwhile, and a view of all of it with it.
  copy.set(new Float32Array(bufferOf.call(values), offsetOf.call(values), length));
  return copy;
}

/** The same of bytes. */
export function ownBytes(bytes: Uint8Array, what: string): Uint8Array {
  const length = lengthInBuffer(bytes, what);
  const copy = new Uint8Array(length);
  copy.set(new Uint8Array(bufferOf.call(bytes), offsetOf.call(bytes), length));
  return copy;
}

function lengthInBuffer(array: Float32Array | Uint8Array, what: string): number {
  try {
    // An array that has lost its memory has no elements; only this tells it from one that never had any.
    typedArray.at.call(array as Uint8Array, 0);
  } catch (cause) {
    throw new EmoframeError(
      'ERR_ARGUMENT',
      `The buffer of ${what} is detached, or has shrunk: it was transferred elsewhere or resized. Give an array whose memory is still there, or transfer a copy.`,
      { cause },
    );
  }
  return lengthOf.call(array);
}
