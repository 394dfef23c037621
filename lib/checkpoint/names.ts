// One set of names inside, transformers' own of today, whatever a checkpoint was saved from.
import { EmoframeError } from '../errors.js';
import type { Tensor } from '../model/tensor.js';

const roots = ['feature_extractor.', 'feature_projection.', 'encoder.'];

/** Whether a tensor belongs to the HuBERT encoder (by transformers' name, without prefix) and not to a head. */
export function isEncoderName(name: string): boolean {
  return name === 'masked_spec_embed' || roots.some((root) => name.startsWith(root));
}

/** PyTorch's old and new weight norm keep the same two tensors: the magnitude g and the direction v. */
function withoutOldWeightNorm(name: string): string {
  return name
    .replace(/\.weight_g$/, '.parametrizations.weight.original0')
    .replace(/\.weight_v$/, '.parametrizations.weight.original1');
}

/**
 * The HuBERT part of a checkpoint under transformers' HubertModel names: a `hubert.` prefix is stripped and the old names
 * of weight norm are replaced. What else there is (`lm_head`, `projector`, `classifier` of models built on HuBERT) is
 * `ignored`, by its name in the checkpoint.
 *
 * Errors: `ERR_CHECKPOINT` when two tensors would get the same name, or none is of HuBERT.
 */
export function normalizeNames<Named extends { name: string }>(
  tensors: Iterable<Named>,
  file: string,
): { tensors: Map<string, Named>; ignored: string[] } {
  const found = new Map<string, Named>();
  const ignored: string[] = [];
  for (const tensor of tensors) {
    const name = withoutOldWeightNorm(tensor.name.replace(/^hubert\./, ''));
    if (!isEncoderName(name)) {
      ignored.push(tensor.name);
      continue;
    }
    if (found.has(name)) {
      throw new EmoframeError('ERR_CHECKPOINT', `${file} holds tensor ${name} twice, under different names.`, {
        file,
        tensor: name,
      });
    }
    found.set(name, { ...tensor, name });
  }
  if (found.size === 0) {
    const held = ignored.length === 0 ? 'no tensors' : `only others, such as ${ignored[0]}`;
    throw new EmoframeError(
      'ERR_CHECKPOINT',
      `${file} holds no weights of HuBERT under transformers' names but ${held}; convert it to a transformers checkpoint.`,
      { file },
    );
  }
  return { tensors: found, ignored };
}

/** All tensors of a model, parted into the HuBERT encoder's and the heads'. */
export function splitTensors(tensors: Iterable<Tensor>): { encoder: Tensor[]; head: Tensor[] } {
  const encoder: Tensor[] = [];
  const head: Tensor[] = [];
  for (const tensor of tensors) (isEncoderName(tensor.name) ? encoder : head).push(tensor);
  return { encoder, head };
}
