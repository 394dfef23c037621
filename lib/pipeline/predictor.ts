import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { directoryExists, writeDirectoryAtomic } from '../files/atomic.js';
import type { FoldPaths } from '../run/paths.js';
import { verifyResult } from '../run/stageResult.js';
import type { StageName } from '../run/stages.js';

/**
 * Puts together what `emoframe predict` takes: the model of the last part of stage 4 with its heads, and under `clusters` the model and the
 * centroids that give frames their cluster.
 */
export async function buildPredictor(paths: FoldPaths, last: StageName): Promise<void> {
  if (await directoryExists(paths.predictor)) return;
  const [model, clusterModel] = [paths.stage(last).model, paths.stage('finetune').model];
  const { centroids } = paths.stage('cluster');
  for (const result of [model, clusterModel, centroids]) await verifyResult(result);
  await writeDirectoryAtomic(paths.predictor, async (directory) => {
    await cp(model, directory, { recursive: true });
    await cp(clusterModel, join(directory, 'clusters'), { recursive: true });
    await cp(centroids, join(directory, 'clusters', 'centroids.safetensors'));
  });
}
