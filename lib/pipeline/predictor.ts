import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { directoryExists, writeDirectoryAtomic } from '../checkpoint/atomic.js';
import type { FoldPaths } from '../stages/foldPaths.js';

/**
 * Puts together what `emoframe predict` takes: stage 4's model with its classifier, and under `clusters` the model and the
 * centroids that give frames their cluster.
 */
export async function buildPredictor(paths: FoldPaths): Promise<void> {
  if (await directoryExists(paths.predictor)) return;
  await writeDirectoryAtomic(paths.predictor, async (directory) => {
    await cp(paths.stage('align').model, directory, { recursive: true });
    await cp(paths.stage('finetune').model, join(directory, 'clusters'), { recursive: true });
    await cp(paths.stage('cluster').centroids, join(directory, 'clusters', 'centroids.safetensors'));
  });
}
