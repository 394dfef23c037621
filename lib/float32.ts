// Arrays of float32, of audio and of weights alike.
import { yieldWhenDue } from './yield.js';

/** Of long audio, what is read or copied without a break: well under a millisecond, and about one where the memory is new. */
const piece = 1 << 18;

/** The values a part at a time, between which others get their turn on this thread. */
export async function* piecesOf(values: Float32Array): AsyncGenerator<Float32Array> {
  for (let first = 0; first < values.length; first += piece) {
    await yieldWhenDue();
    yield values.subarray(first, first + piece);
  }
}

/** Parts one after another; a single one as it is. */
export function joinFloats(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0]!;
  const joined = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let position = 0;
  for (const part of parts) {
    joined.set(part, position);
    position += part.length;
  }
  return joined;
}

/** The same of long ones. */
export async function joinLong(parts: readonly Float32Array[]): Promise<Float32Array> {
  if (parts.length === 1) return parts[0]!;
  const joined = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let position = 0;
  for (const part of parts) {
    for await (const values of piecesOf(part)) {
      joined.set(values, position);
      position += values.length;
    }
  }
  return joined;
}

/**
 * Whether no value is NaN or infinite. 0 · x is 0 for finite numbers only, and four sums side by side, of which none waits for the
 * one before it, are several times faster than a test a value.
 */
export function allFinite(values: Float32Array): boolean {
  const whole = values.length - (values.length % 4);
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < whole; i += 4) {
    a += 0 * values[i]!;
    b += 0 * values[i + 1]!;
    c += 0 * values[i + 2]!;
    d += 0 * values[i + 3]!;
  }
  for (let i = whole; i < values.length; i++) a += 0 * values[i]!;
  return a + b + c + d === 0;
}
