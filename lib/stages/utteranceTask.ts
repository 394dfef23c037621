// What a stage that learns from whole utterances is given, and the utterances that it learns from.
import type { Draw, TargetItem } from '../batch/samplers.js';
import type { Head } from '../checkpoint/head.js';
import type { LoadedHubert } from '../checkpoint/load.js';
import type { FineTuningSettings, UtteranceTrainingSettings } from '../config/types.js';
import { hasValues } from '../corpus/values.js';
import type { SoundStatistics } from '../model/alignment.js';
import type { Geometry } from '../model/geometry.js';
import type { Tensor } from '../model/tensor.js';
import { framesOf, type StageContext, utteranceOf } from './context.js';
import type { Validation } from './validation.js';

/** What is trained on the labels or values of utterances, and how. */
export interface UtteranceTask {
  settings: UtteranceTrainingSettings;
  /** The model, with the head that is trained. It is disposed of at the end. */
  stage: LoadedHubert;
  objective: 'classification' | 'regression' | 'alignment';
  /** Beginnings of the names of tensors that stay as they are. */
  frozen: readonly string[];
  /** SpecAugment along time; absent: none. */
  mask?: FineTuningSettings['mask'];
  /** What waveforms are normalised by, in place of each utterance's own statistics. */
  statistics?: SoundStatistics;
  /** Labels i32 `[T]` of the frames of some draws. */
  frameLabels?: (draws: readonly Draw[]) => Int32Array;
  /** How the saved model's head is described. */
  head: Omit<Head, 'tensors' | 'calibration' | 'info'>;
  /** Validates the weights that are kept, in place of the validation during training. */
  validateKept?(kept: readonly Tensor[], validation: readonly TargetItem[], maxFrames: number): Promise<Validation>;
  info?: Record<string, unknown>;
}

/** The utterances of a part of the fold that have a target, and those of them that are too short for a frame. */
export async function itemsWithTargets(
  context: StageContext,
  geometry: Geometry,
  ids: readonly string[],
): Promise<{ items: TargetItem[]; excluded: string[] }> {
  const targets = ids.flatMap((id) => {
    const target = targetOf(context, id);
    return target === undefined ? [] : [{ id, ...target }];
  });
  const frames = await framesOf(
    context,
    geometry,
    targets.map(({ id }) => id),
  );
  const items = frames.map((item, index) => ({ ...targets[index]!, ...item }));
  return {
    items: items.filter((item) => item.frames > 0),
    excluded: items.filter((item) => item.frames === 0).map(({ id }) => id),
  };
}

/** An utterance's class, or its values in the order of the outputs; undefined: it has none that are learned. */
function targetOf(context: StageContext, id: string): Pick<TargetItem, 'label' | 'values'> | undefined {
  const utterance = utteranceOf(context, id);
  const { dimensions } = context.config;
  if (dimensions !== null) {
    if (!hasValues(utterance, dimensions)) return undefined;
    return { label: 0, values: dimensions.map((name) => utterance.values![name]!) };
  }
  const label = utterance.label === undefined ? -1 : context.labels.indexOf(utterance.label);
  return label < 0 ? undefined : { label };
}
