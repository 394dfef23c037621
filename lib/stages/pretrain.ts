// Stage 3: the pretrained HuBERT is pretrained once more, now to predict the emotional pseudo-labels of hidden frames from
// the speech around them. What stage 1b learned from utterance labels becomes knowledge about frames and their context.
import { fileExists } from '../files/read.js';
import { nearestClusters } from './cluster.js';
import { type LabelMap, readCentroids, readLabels, saveLabels } from './clustering.js';
import { pretrainingIds, type StageContext } from './context.js';
import { trainMaskedPrediction } from './maskedPrediction.js';
import { loadWithNewHeads, pretrainedDir } from './models.js';

/** Runs the stage and leaves its model in `pretrain/model`. */
export async function pretrain(context: StageContext): Promise<void> {
  const settings = context.config.pretrain;
  const startDir = settings.startFrom === 'tapt' ? context.paths.stage('tapt').model : pretrainedDir(context);
  const { clusters } = await readCentroids(context.paths.stage('cluster').centroids);
  await trainMaskedPrediction(context, {
    settings,
    clusters,
    labels: await pseudoLabels(context),
    start: (heads) => loadWithNewHeads(context, startDir, () => heads),
    info: { startFrom: settings.startFrom },
  });
}

/** Stage 2's labels; audio that it did not cluster (the test session's, when transductive) gets its nearest centroids. */
async function pseudoLabels(context: StageContext): Promise<LabelMap> {
  const labels = await readLabels(context.paths.stage('cluster').labels);
  const missing = pretrainingIds(context).filter((id) => !labels.has(id));
  if (missing.length === 0) return labels;
  const file = context.paths.stage('pretrain').labels;
  if (!(await fileExists(file))) await saveLabels(file, await nearestClusters(context, missing));
  for (const [id, ids] of await readLabels(file)) labels.set(id, ids);
  return labels;
}
