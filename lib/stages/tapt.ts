// Stage 1a, task-adaptive pretraining: before it sees any label, the pretrained model gets used to the corpus's speech by
// going on with its own task there: predicting, for hidden frames, the cluster of what its own middle layer made of them.
import { readCentroidFile } from '../checkpoint/centroids.js';
import type { Centroids } from '../checkpoint/foreign/kmeansModel.js';
import { EmoframeError } from '../errors.js';
import { fileExists } from '../files/read.js';
import { assignLabels, clusterFrames, readLabels, saveCentroids, saveLabels } from './clustering.js';
import { pretrainingIds, type StageContext } from './context.js';
import { existingLayer, hiddenStates } from './hiddenStates.js';
import { trainMaskedPrediction } from './maskedPrediction.js';
import { loadWithNewHeads, pretrainedDir, withEncoder } from './models.js';

/** Runs the stage and leaves its model in `tapt/model`. */
export async function tapt(context: StageContext): Promise<void> {
  const settings = context.config.tapt;
  const paths = context.paths.stage('tapt');
  if (!(await fileExists(paths.labels))) await makeLabels(context);
  const { clusters } = await importedOrFitted(context);
  await trainMaskedPrediction(context, {
    settings,
    clusters,
    labels: await readLabels(paths.labels),
    start: (heads) => loadWithNewHeads(context, pretrainedDir(context), () => heads),
  });
}

async function importedOrFitted(context: StageContext): Promise<{ clusters: number; centroids?: Centroids }> {
  const { centroids: file, kmeans } = context.config.tapt;
  if (file === null) return { clusters: kmeans.clusters };
  const centroids = await readCentroidFile(file);
  return { clusters: centroids.shape[0], centroids };
}

async function makeLabels(context: StageContext): Promise<void> {
  const settings = context.config.tapt;
  const paths = context.paths.stage('tapt');
  await withEncoder(context, pretrainedDir(context), async (encoder) => {
    const layer = existingLayer(encoder, settings.layer);
    const source = await hiddenStates(context, encoder, pretrainingIds(context), layer);
    const { dimension } = source;
    const { centroids: imported } = await importedOrFitted(context);
    if (imported !== undefined && imported.shape[1] !== dimension) {
      throw new EmoframeError(
        'ERR_TENSOR',
        `${settings.centroids} holds centroids of ${imported.shape[1]} columns where the model's hidden states have ${dimension}: they are of another model.`,
        { file: settings.centroids! },
      );
    }
    const { centroids, labels } =
      imported === undefined
        ? await clusterFrames(context, source, settings.kmeans)
        : { centroids: imported.data, labels: await assignLabels(context, source, imported.data) };
    await saveCentroids(paths.centroids, centroids, dimension, layer);
    await saveLabels(paths.labels, labels);
  });
}
