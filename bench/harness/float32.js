// Arrays of float32 as plain files, which both Node and NumPy read without parsing, and how far two of them are apart.
import { readFile, writeFile } from 'node:fs/promises';

export async function readFloat32(file) {
  const bytes = await readFile(file);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

export async function writeFloat32(file, values) {
  await writeFile(file, Buffer.from(values.buffer, values.byteOffset, values.byteLength));
}

/** ‖found − expected‖ / ‖expected‖ */
export function relativeError(found, expected) {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (found[i] - expected[i]) ** 2;
    size += expected[i] ** 2;
  }
  return Math.sqrt(difference / size);
}
