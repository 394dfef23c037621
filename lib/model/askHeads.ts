import type { ClassifyResult, PackedBatch } from './binding.js';

/**
 * What a model's heads say of utterances that are brought to them in two ways: `batch` by their own statistics, for the pooled
 * classifier, and `local` by others, for the alignment network. Without `local` both are given the same, in one pass.
 *
 * @param classify passes a batch through the model, for one head or, where none is named, for all
 * @param pools whether the model has a pooled classifier
 */
export async function askHeads(
  classify: (batch: PackedBatch, head?: 'classifier' | 'alignment') => Promise<ClassifyResult>,
  pools: boolean,
  batch: () => PackedBatch,
  local: PackedBatch | undefined,
): Promise<ClassifyResult> {
  if (local === undefined) return classify(batch());
  if (!pools) return classify(local, 'alignment');
  const pooled = await classify(batch(), 'classifier');
  const { alignment } = await classify(local, 'alignment');
  return { ...pooled, ...(alignment !== undefined && { alignment }) };
}
