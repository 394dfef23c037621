// Stored number formats to float32. Little-endian hosts only, as are all that this package runs on.
import { EmoframeError } from '../errors.js';
import type { OpenFile } from '../files/read.js';
import { newFloats, roomFor } from '../model/floats.js';

export type StoredType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL';

export const bytesPerElement: Record<StoredType, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};

export function isStoredType(name: string): name is StoredType {
  return Object.hasOwn(bytesPerElement, name);
}

let halves: Float32Array | undefined;

/** float32 of each of the 65 536 half-precision patterns: one look-up is quicker than the arithmetic. */
function halfTable(): Float32Array {
  if (halves) return halves;
  halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    halves[bits] =
      exponent === 0
        ? sign * fraction * 2 ** -24
        : exponent === 31
          ? fraction === 0
            ? sign * Infinity
            : NaN
          : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return halves;
}

/** Decodes `bytes`, whole elements starting at a multiple of 8 of their buffer, into `target` from `at` on. */
export function decode(bytes: Uint8Array<ArrayBuffer>, type: StoredType, target: Float32Array, at: number): void {
  const count = bytes.byteLength / bytesPerElement[type];
  const { buffer, byteOffset } = bytes;
  switch (type) {
    case 'F64':
      target.set(new Float64Array(buffer, byteOffset, count), at);
      break;
    case 'F32':
      target.set(new Float32Array(buffer, byteOffset, count), at);
      break;
    case 'I32':
      target.set(new Int32Array(buffer, byteOffset, count), at);
      break;
    case 'I16':
      target.set(new Int16Array(buffer, byteOffset, count), at);
      break;
    case 'I8':
      target.set(new Int8Array(buffer, byteOffset, count), at);
      break;
    case 'U8':
      target.set(bytes, at);
      break;
    case 'BOOL':
      for (let i = 0; i < count; i++) target[at + i] = bytes[i] === 0 ? 0 : 1;
      break;
    case 'I64': {
      const values = new BigInt64Array(buffer, byteOffset, count);
      for (let i = 0; i < count; i++) target[at + i] = Number(values[i]);
      break;
    }
    case 'F16': {
      const table = halfTable();
      const values = new Uint16Array(buffer, byteOffset, count);
      for (let i = 0; i < count; i++) target[at + i] = table[values[i]!]!;
      break;
    }
    case 'BF16': {
      // bfloat16 is the upper half of a float32.
      const values = new Uint16Array(buffer, byteOffset, count);
      const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
      for (let i = 0; i < count; i++) bits[at + i] = values[i]! << 16;
      break;
    }
  }
}

/** Zeros, or `ERR_CHECKPOINT` when this machine cannot hold so many. */
export function allocate(count: number, path: string, tensor: string): Float32Array<ArrayBuffer> {
  try {
    return newFloats(count);
  } catch (error) {
    throw new EmoframeError(
      'ERR_CHECKPOINT',
      `Tensor ${tensor} in ${path} has ${count} elements, more than this process can hold.`,
      { file: path, tensor, cause: error },
    );
  }
}

/**
 * `count` elements stored at `position`, as float32, in the front of `into` if it has room for them. Peak memory is the
 * result and a few MiB.
 */
export async function readElements(
  file: OpenFile,
  tensor: string,
  type: StoredType,
  position: number,
  count: number,
  into?: Float32Array,
): Promise<Float32Array> {
  const values = roomFor(count, into, () => allocate(count, file.path, tensor));
  if (type === 'F32') {
    await file.readInto(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), position);
    return values;
  }
  const width = bytesPerElement[type];
  const atOnce = Math.min(count, (1 << 20) / width);
  const buffer = new Uint8Array(atOnce * width);
  for (let at = 0; at < count; at += atOnce) {
    const bytes = buffer.subarray(0, Math.min(atOnce, count - at) * width);
    await file.readInto(bytes, position + at * width);
    decode(bytes, type, values, at);
  }
  return values;
}
