// Stage 1b: the adapted model learns to name the emotion of whole utterances from the mean of their frames. Its middle
// layer thereby comes to separate emotions frame by frame, which is what stage 2 clusters; its scores are the baseline
// that stage 4 is compared with.
import { classifierOptions, type Head, type HeadLayers } from '../checkpoint/head.js';
import type { FineTuningSettings } from '../config/types.js';
import type { StageContext } from './context.js';
import { featureEncoderPrefixes, loadWithNewHeads } from './models.js';
import type { UtteranceTask } from './utteranceTask.js';
import { trainOnUtterances } from './utteranceTraining.js';

/** Runs the stage and leaves its model in `finetune/model`. */
export async function finetune(context: StageContext): Promise<void> {
  const startDir = context.paths.stage('tapt').model;
  await trainOnUtterances(context, await fineTuningOf(context, context.config.finetune, startDir));
}

/** A HuBERT with a new head over its pooled frames, all of it but the feature encoder trained. */
export async function fineTuningOf(
  context: StageContext,
  settings: FineTuningSettings,
  startDir: string,
): Promise<UtteranceTask> {
  const { mask, trainFeatureEncoder } = settings;
  const regression = context.config.dimensions !== null;
  const headOn = (hiddenSize: number) => newHead(settings, context.labels, regression, hiddenSize);
  const stage = await loadWithNewHeads(context, startDir, (hiddenSize) => {
    return { classifier: classifierOptions(headOn(hiddenSize))! };
  });
  return {
    settings,
    stage,
    objective: regression ? 'regression' : 'classification',
    frozen: trainFeatureEncoder ? [] : featureEncoderPrefixes,
    mask,
    head: headOn(stage.model.config.shape.hiddenSize),
  };
}

/** The description of a head as the settings have it, on hidden states of a width. */
function newHead(
  { pooling, head: { source, projector, dense } }: FineTuningSettings,
  labels: readonly string[],
  regression: boolean,
  hiddenSize: number,
): Omit<Head, 'tensors'> {
  const widthOf = (width: number | 'hidden') => (width === 'hidden' ? hiddenSize : width);
  const layers: HeadLayers = {
    ...(source !== 'output' && { source }),
    ...(projector !== null && { projector: widthOf(projector) }),
    ...(dense.length > 0 && { dense: dense.map((layer) => ({ ...layer, width: widthOf(layer.width) })) }),
  };
  return {
    kind: 'classifier',
    labels: [...labels],
    ...(regression && { task: 'regression' }),
    pooling,
    ...(Object.keys(layers).length > 0 && { layers }),
  };
}
