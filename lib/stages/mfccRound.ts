// From scratch only. Where no pretrained model is given, one is made as HuBERT's own first iteration was: frames are
// clustered by how they sound (39 MFCCs every 20 ms), and a model with random weights learns to predict the clusters of
// hidden frames, its feature encoder included. The result takes the place of the pretrained HuBERT in the stages that follow.
import { alignMfcc, MFCC_DIMENSION } from '../audio/mfcc.js';
import { fileExists } from '../files/read.js';
import { Geometry } from '../model/geometry.js';
import { parseHubertConfig } from '../model/hubertConfig.js';
import { type ClusterSource, clusterFrames, readLabels, saveLabels } from './clustering.js';
import { framesOf, pretrainingIds, type StageContext, utteranceOf } from './context.js';
import { trainMaskedPrediction } from './maskedPrediction.js';
import { createFromScratch } from './models.js';

/** Runs the round and leaves its model in `mfcc/model`. */
export async function mfccRound(context: StageContext): Promise<void> {
  const settings = context.config.mfcc;
  const file = context.paths.stage('mfcc').labels;
  if (!(await fileExists(file))) {
    const { labels } = await clusterFrames(context, await mfccSource(context), settings.kmeans);
    await saveLabels(file, labels);
  }
  await trainMaskedPrediction(context, {
    settings,
    clusters: settings.kmeans.clusters,
    labels: await readLabels(file),
    start: (heads) => createFromScratch(context, heads),
  });
}

/** Rows are MFCCs at the model's frame rate: every second one. */
async function mfccSource(context: StageContext): Promise<ClusterSource> {
  const { shape } = parseHubertConfig(context.config.model, "the config's model");
  const all = await framesOf(context, new Geometry(shape), pretrainingIds(context));
  const items = all.filter(({ frames }) => frames > 0);
  return {
    items,
    dimension: MFCC_DIMENSION,
    async *rows() {
      for (const { id, frames } of items) {
        const source = await context.audio.mfcc(utteranceOf(context, id), context.signal);
        yield { id, rows: alignMfcc(source, frames) };
      }
    },
  };
}
