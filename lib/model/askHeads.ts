import type { ClassifyResult, FrameRanges, PackedBatch } from './binding.js';
import type { Model } from './model.js';

/**
 * What a model's heads say of utterances that are brought to them in two ways: `batch` by their own statistics, for the pooled
 * classifier, and `local` by others, for the alignment network. Without `local` both hear the same, in one pass.
 *
 * @param pools whether the model has a pooled classifier
 */
export async function askHeads(
  model: Model,
  pools: boolean,
  batch: PackedBatch,
  local: PackedBatch | undefined,
  kept?: FrameRanges,
): Promise<ClassifyResult> {
  if (local === undefined) return model.classify(batch, kept);
  if (!pools) return model.classify(local, kept, 'alignment');
  const [pooled, aligned] = await Promise.all([
    model.classify(batch, kept, 'classifier'),
    model.classify(local, kept, 'alignment'),
  ]);
  return { ...pooled, alignment: aligned.alignment! };
}
