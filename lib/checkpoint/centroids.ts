// Centroids to cluster frames with, from whatever file holds them.
import { extname } from 'node:path';
import { EmoframeError } from '../errors.js';
import { checkFinite } from './finite.js';
import { type Centroids, readKMeansModel } from './foreign/kmeansModel.js';
import { readNpy } from './npy.js';
import { readSafetensors } from './safetensors.js';

async function readMatrix(file: string): Promise<{ data: Float32Array | Int32Array; shape: number[] } | undefined> {
  switch (extname(file)) {
    case '.npy':
      return readNpy(file);
    case '.safetensors': {
      const { tensors } = await readSafetensors(file);
      return tensors.get('centroids') ?? (tensors.size === 1 ? [...tensors.values()][0] : undefined);
    }
    default:
      return readKMeansModel(file);
  }
}

/**
 * Centroids `[K, C]`: a `.npy`; the tensor `centroids`, or the only one, of a `.safetensors`; or with any other ending a k-means
 * model of scikit-learn that joblib saved.
 *
 * @throws EmoframeError `ERR_TENSOR` (no matrix of floats), `ERR_NOT_FINITE`, and as `readNpy`, `readSafetensors` and
 *   `readKMeansModel`
 * @example
 * const { data, shape } = await readCentroidFile('hubert_base_ls960_L9_km500.bin'); // shape: [500, 768]
 */
export async function readCentroidFile(file: string): Promise<Centroids> {
  const found = await readMatrix(file);
  const [clusters, columns] = found?.shape ?? [];
  if (!(found?.data instanceof Float32Array) || found.shape.length !== 2 || !clusters || !columns) {
    throw new EmoframeError(
      'ERR_TENSOR',
      `${file} holds no matrix of floats: give centroids [K, hidden] as .npy, as .safetensors, or as a k-means model of scikit-learn.`,
      { file },
    );
  }
  const { data } = found;
  await checkFinite([{ name: 'centroids', shape: found.shape, data }], file, file);
  return { data, shape: [clusters, columns] };
}
