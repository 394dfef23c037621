// Stage 1b: the adapted model learns to name the emotion of whole utterances from the mean of their frames. Its middle
// layer thereby comes to tell emotions apart frame by frame, which is what stage 2 clusters; its scores are the baseline
// that stage 4 is compared with.
import { trainClassifier } from './classification.js';
import type { StageContext } from './context.js';

/** Runs the stage and leaves its model in `finetune/model`. */
export async function finetune(context: StageContext): Promise<void> {
  await trainClassifier(context, {
    settings: context.config.finetune,
    startDir: context.paths.stage('tapt').model,
  });
}
