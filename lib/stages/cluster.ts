// Stage 2: the frames of the training sessions, as the fine-tuned model hears them, are clustered. A frame's cluster is its
// emotional pseudo-label: frames that express the same state fall together, whatever the label of their utterance.
import { writeFileAtomic } from '../files/atomic.js';
import { finishStage } from '../run/stageResult.js';
import {
  type ClusterSource,
  clusterFrames,
  fitCentroids,
  gatherPoints,
  saveCentroids,
  saveLabels,
  splitByUtterance,
} from './clustering.js';
import { agreementWithTruth } from './clusterQuality.js';
import { framesOf, type StageContext } from './context.js';
import { existingLayer, hiddenStates } from './hiddenStates.js';
import { loadEncoder, type StageModel } from './models.js';

/** Runs the stage and leaves centroids and labels in `cluster`. */
export async function cluster(context: StageContext): Promise<void> {
  const settings = context.config.cluster;
  const paths = context.paths.stage('cluster');
  const stage = await loadEncoder(context, context.paths.stage('finetune').model);
  try {
    const layer = existingLayer(stage, settings.layer);
    const source = await trainingFrames(context, stage, layer);
    const { labels, centroids, ...found } = await clusterFrames(context, source, settings.kmeans);
    await saveLabels(paths.labels, labels);
    await saveCentroids(paths.centroids, centroids, source.dimension, layer);
    await finishStage(context, {
      layer,
      clusters: settings.kmeans.clusters,
      utterances: source.items.length,
      ...found,
      ...(await agreementWithTruth(context, stage.model.geometry, labels)),
    });
  } finally {
    stage.model.dispose();
  }
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
  const stage = await loadEncoder(context, context.paths.stage('finetune').model);
  const rows: SweepRow[] = [];
  try {
    for (const layer of sweep.layers) {
      const source = await trainingFrames(context, stage, layer);
      const { points, complete } = await gatherPoints(context, source, kmeans.frameLimit);
      for (const clusters of sweep.clusters) {
        const fitted = await fitCentroids(context, points, source.dimension, { ...kmeans, clusters });
        // Agreement needs to know whose frame each is, which a sample of frames does not tell.
        const agreement = complete
          ? await agreementWithTruth(context, stage.model.geometry, splitByUtterance(source.items, fitted.labels))
          : {};
        rows.push({ layer, clusters, inertiaPerFrame: fitted.inertiaPerFrame, ...agreement });
      }
    }
  } finally {
    stage.model.dispose();
  }
  await writeFileAtomic(`${context.paths.stage('cluster').dir}/sweep.json`, `${JSON.stringify(rows, undefined, 2)}\n`);
  return rows;
}

async function trainingFrames(context: StageContext, stage: StageModel, layer: number): Promise<ClusterSource> {
  const ids = [...context.fold.train, ...context.fold.validation];
  const items = await framesOf(context, stage.model.geometry, ids);
  return {
    items: items.filter(({ frames }) => frames > 0),
    dimension: stage.model.config.shape.hiddenSize,
    rows: (wanted) => hiddenStates(context, stage, wanted, layer),
  };
}
