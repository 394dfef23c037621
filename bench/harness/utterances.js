import { readFloat32 } from './float32.js';

/** Utterances of these lengths, which lie end to end in a file. */
export async function readUtterances(file, lengths) {
  const samples = await readFloat32(file);
  let first = 0;
  return lengths.map((length) => {
    first += length;
    return samples.subarray(first - length, first);
  });
}
