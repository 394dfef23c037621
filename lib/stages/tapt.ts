// Stage 1a, task-adaptive pretraining: before it sees any label, the pretrained model gets used to the corpus's speech by
// going on with its own task there: predicting, for hidden frames, the cluster of what its own middle layer made of them.
import { extname } from 'node:path';
import { fileExists } from '../checkpoint/files.js';
import { readNpy } from '../checkpoint/npy.js';
import { readSafetensors } from '../checkpoint/safetensors.js';
import { EmoframeError } from '../errors.js';
import {
  assignLabels,
  type ClusterSource,
  clusterFrames,
  readLabels,
  saveCentroids,
  saveLabels,
} from './clustering.js';
import { framesOf, pretrainingIds, type StageContext } from './context.js';
import { existingLayer, hiddenStates } from './hiddenStates.js';
import { trainMaskedPrediction } from './maskedPrediction.js';
import { loadEncoder, loadWithNewHeads, pretrainedDir } from './models.js';

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
    start: (heads) => loadWithNewHeads(context, pretrainedDir(context), heads),
  });
}

async function importedOrFitted(context: StageContext): Promise<{ clusters: number; centroids?: Float32Array }> {
  const { centroids: file, kmeans } = context.config.tapt;
  if (file === null) return { clusters: kmeans.clusters };
  const { data, shape } = await readCentroidFile(file);
  return { clusters: shape[0]!, centroids: data };
}

async function makeLabels(context: StageContext): Promise<void> {
  const settings = context.config.tapt;
  const paths = context.paths.stage('tapt');
  const stage = await loadEncoder(context, pretrainedDir(context));
  try {
    const layer = existingLayer(stage, settings.layer);
    const dimension = stage.model.config.shape.hiddenSize;
    const items = (await framesOf(context, stage.model.geometry, pretrainingIds(context))).filter(
      ({ frames }) => frames > 0,
    );
    const source: ClusterSource = {
      items,
      dimension,
      rows: (wanted) => hiddenStates(context, stage, wanted, layer),
    };
    const { centroids: imported } = await importedOrFitted(context);
    if (imported !== undefined && imported.length % dimension !== 0) {
      throw new EmoframeError(
        'ERR_TENSOR',
        `${settings.centroids} must hold centroids of ${dimension} columns, the width of the model's hidden states.`,
        { file: settings.centroids! },
      );
    }
    const { centroids, labels } =
      imported === undefined
        ? await clusterFrames(context, source, settings.kmeans)
        : { centroids: imported, labels: await assignLabels(context, source, imported) };
    await saveCentroids(paths.centroids, centroids, dimension, layer);
    await saveLabels(paths.labels, labels);
  } finally {
    stage.model.dispose();
  }
}

/** A matrix `[K, hidden]`: a .npy, or the only tensor (or `centroids`) of a .safetensors. */
async function readCentroidFile(file: string): Promise<{ data: Float32Array; shape: number[] }> {
  const refuse = (reason: string) =>
    new EmoframeError('ERR_TENSOR', `${file} ${reason}: give centroids [K, hidden] as .npy or .safetensors.`, { file });
  if (extname(file) === '.npy') {
    const { data, shape } = await readNpy(file);
    if (shape.length !== 2 || !(data instanceof Float32Array)) throw refuse('is not a float matrix');
    return { data, shape };
  }
  if (extname(file) !== '.safetensors') throw refuse('has an ending that is not known');
  const { tensors } = await readSafetensors(file);
  const found = tensors.get('centroids') ?? (tensors.size === 1 ? [...tensors.values()][0] : undefined);
  if (found?.shape.length !== 2) throw refuse('holds no matrix of centroids');
  return found;
}
