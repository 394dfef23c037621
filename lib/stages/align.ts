// Stage 4: the frame-aware model learns the utterance labels once more, now with attention over its frames, so that the
// frames that carry an emotion decide, and each frame has a posterior of its own.

import { withConcatenations } from './concatenation.js';
import type { StageContext } from './context.js';
import { fineTuningOf } from './finetune.js';
import { trainOnUtterances } from './utteranceTraining.js';

/** Runs the stage and leaves its model in `align/model`. */
export async function align(context: StageContext): Promise<void> {
  const extended = await withConcatenations(context);
  await trainOnUtterances(
    extended,
    await fineTuningOf(extended, context.config.align, context.paths.stage('pretrain').model),
  );
}
