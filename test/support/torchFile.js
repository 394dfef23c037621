import { openWeights } from '../../dist/checkpoint/weights.js';

/** All tensors of a file that PyTorch saved, in memory. */
export async function readTorch(path) {
  const file = await openWeights(path);
  try {
    const tensors = new Map();
    for (const { name, shape, read } of file.tensors) tensors.set(name, { name, shape, data: await read() });
    return tensors;
  } finally {
    await file.close();
  }
}
