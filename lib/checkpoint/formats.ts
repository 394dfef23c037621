// A file of weights is opened as what it is, not as what it is called: safetensors, or what `torch.save` wrote.
import { EmoframeError } from '../errors.js';
import { OpenFile } from '../files/read.js';
import { damaged } from './failures.js';
import { describedByFairseq } from './foreign/fairseq.js';
import { type PickleDict, PickleTensor, type PickleValue } from './foreign/pickleValues.js';
import { openTorch, type TorchFile } from './foreign/torch.js';
import { openSafetensors } from './safetensors.js';
import type { OpenWeights } from './weights.js';

/** Under what names trainers keep a model's state in what they save: fairseq, s3prl, PyTorch Lightning, and the habit of many. */
const statePlaces = ['model', 'model_weight', 'state_dict', 'model_state_dict'];

/** A file that calls itself safetensors must be one: whoever asks for it asks for a file that can hold nothing but tensors. */
async function isSafetensors(path: string): Promise<boolean> {
  if (path.endsWith('.safetensors')) return true;
  const file = await OpenFile.open(path, damaged(path));
  try {
    // A length of which the upper half is zero, and the brace that JSON begins with: neither an archive nor a pickle has them there.
    if (file.size < 9) return false;
    const start = await file.read(0, 9);
    return start[8] === 0x7b && start.subarray(4, 8).every((byte) => byte === 0);
  } finally {
    await file.close();
  }
}

/** The model's tensors by name, wherever a trainer put them. */
function stateIn(value: PickleValue, file: string): { root: PickleDict; state: PickleDict } {
  if (!(value instanceof Map)) {
    throw new EmoframeError(
      'ERR_CHECKPOINT',
      `${file} is not a PyTorch checkpoint that can be read: it does not hold a state dict (a dict of tensors); save model.state_dict().`,
      { file },
    );
  }
  for (const place of statePlaces) {
    const state = value.get(place);
    if (state instanceof Map && state.values().next().value instanceof PickleTensor) return { root: value, state };
  }
  return { root: value, state: value };
}

function weightsOf(torch: TorchFile, file: string): OpenWeights {
  const { root, state } = stateIn(torch.value, file);
  const tensors = torch.tensorsOf(state);
  const description = root === state ? undefined : describedByFairseq(root, file);
  return { tensors, close: torch.close, ...(description === undefined ? {} : { description }) };
}

/**
 * Opens a file of weights: safetensors; or of PyTorch, a state dict, or a checkpoint of fairseq, s3prl or PyTorch Lightning.
 * Errors: as `openSafetensors` and `openTorch`; `ERR_MODEL_CONFIG` when it describes a model that cannot be done.
 */
export async function openWeights(file: string): Promise<OpenWeights> {
  if (await isSafetensors(file)) {
    const { tensors, close } = await openSafetensors(file);
    return { tensors, close };
  }
  const torch = await openTorch(file);
  try {
    return weightsOf(torch, file);
  } catch (error) {
    await torch.close();
    throw error;
  }
}
