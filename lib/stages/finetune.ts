// Stage 1b: the adapted model learns to name the emotion of whole utterances from the mean of their frames. Its middle
// layer thereby comes to separate emotions frame by frame, which is what stage 2 clusters; its scores are the baseline
// that stage 4 is compared with.
import type { FineTuningSettings } from '../config/types.js';
import { trainOnUtterances, type UtteranceTask } from './classification.js';
import type { StageContext } from './context.js';
import { featureEncoderPrefixes, loadWithNewHeads } from './models.js';

/** Runs the stage and leaves its model in `finetune/model`. */
export async function finetune(context: StageContext): Promise<void> {
  const startDir = context.paths.stage('tapt').model;
  await trainOnUtterances(context, await fineTuningOf(context, context.config.finetune, startDir));
}

/** A HuBERT with a new classifier over its pooled frames, all of it but the feature encoder trained. */
export async function fineTuningOf(
  context: StageContext,
  settings: FineTuningSettings,
  startDir: string,
): Promise<UtteranceTask> {
  const { pooling, mask, trainFeatureEncoder } = settings;
  return {
    settings,
    stage: await loadWithNewHeads(context, startDir, { classifier: { classes: context.labels.length, pooling } }),
    objective: 'classification',
    frozen: trainFeatureEncoder ? [] : featureEncoderPrefixes,
    mask,
    head: { pooling },
  };
}
