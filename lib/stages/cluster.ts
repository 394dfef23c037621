// Stage 2: the frames of the training sessions are clustered by the fine-tuned model's hidden states. A frame's cluster is its
// emotional pseudo-label: frames that express the same state fall together, whatever the label of their utterance.
import { writeJson } from '../files/json.js';
import { finishStage } from '../run/stageResult.js';
import {
  assignLabels,
  clusterFrames,
  fitCentroids,
  gatherPoints,
  type LabelMap,
  readCentroids,
  saveCentroids,
  saveLabels,
  splitByUtterance,
} from './clustering.js';
import { agreementWithTruth } from './clusterQuality.js';
import { type StageContext, trainingIds } from './context.js';
import { existingLayer, hiddenStates } from './hiddenStates.js';
import { withEncoder } from './models.js';

/** Runs the stage and leaves centroids and labels in `cluster`. */
export async function cluster(context: StageContext): Promise<void> {
  const settings = context.config.cluster;
  const paths = context.paths.stage('cluster');
  await withEncoder(context, context.paths.stage('finetune').model, async (encoder) => {
    const layer = existingLayer(encoder, settings.layer);
    const source = await hiddenStates(context, encoder, trainingIds(context), layer);
    const { labels, centroids, ...found } = await clusterFrames(context, source, settings.kmeans);
    await saveLabels(paths.labels, labels);
    await saveCentroids(paths.centroids, centroids, source.dimension, layer);
    await finishStage(context, {
      layer,
      clusters: settings.kmeans.clusters,
      utterances: source.items.length,
      ...found,
      ...(await agreementWithTruth(context, encoder.model.geometry, labels)),
    });
  });
}

/** The cluster of stage 2 of every frame of these utterances, whether they took part in the clustering or not. */
export async function nearestClusters(context: StageContext, ids: readonly string[]): Promise<LabelMap> {
  const { centroids, layer } = await readCentroids(context.paths.stage('cluster').centroids);
  return withEncoder(context, context.paths.stage('finetune').model, async (encoder) =>
    assignLabels(context, await hiddenStates(context, encoder, ids, layer), centroids),
  );
}

/** One row of a sweep. */
export interface SweepRow {
  layer: number;
  clusters: number;
  inertiaPerFrame: number;
  /** Share of frames whose emotion is the commonest one of their cluster; where frame-level truth is known. */
  purity?: number;
  /** Normalised mutual information of clusters and emotions. */
  nmi?: number;
}

/**
 * Clusters at each layer with each K, without touching the stage's own result, and writes `cluster/sweep.json`.
 *
 * @example
 * const rows = await sweepClusters(context, { layers: [6, 9, 12], clusters: [20, 50, 100] });
 */
export async function sweepClusters(
  context: StageContext,
  sweep: { layers: readonly number[]; clusters: readonly number[] },
): Promise<SweepRow[]> {
  const { kmeans } = context.config.cluster;
  const rows: SweepRow[] = [];
  await withEncoder(context, context.paths.stage('finetune').model, async (encoder) => {
    for (const layer of sweep.layers) {
      const source = await hiddenStates(context, encoder, trainingIds(context), layer);
      const { points, complete } = await gatherPoints(context, source, kmeans.frameLimit);
      for (const clusters of sweep.clusters) {
        const fitted = await fitCentroids(context, points, source.dimension, { ...kmeans, clusters });
        // Agreement needs to know which utterance each frame is of, which is lost in a sample of frames.
        const agreement = complete
          ? await agreementWithTruth(context, encoder.model.geometry, splitByUtterance(source.items, fitted.labels))
          : {};
        rows.push({ layer, clusters, inertiaPerFrame: fitted.inertiaPerFrame, ...agreement });
      }
    }
  });
  await writeJson(`${context.paths.stage('cluster').dir}/sweep.json`, rows);
  return rows;
}
