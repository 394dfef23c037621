// A file of weights, whatever its format: named tensors that are read one at a time, and in some what the model is. It is opened as
// what its first bytes say, not as what it is called; an index names several such files.
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { OpenFile, orClose } from '../files/read.js';
import { byName, describeIssues } from '../issues.js';
import type { StoredTensor } from '../model/tensor.js';
import { damaged, readModelJson } from './failures.js';
import { describedByFairseq } from './foreign/fairseq.js';
import { type PickleDict, PickleTensor, type PickleValue } from './foreign/pickleValues.js';
import { notTorch, openTorch, type TorchFile } from './foreign/torch.js';
import { openSafetensors } from './safetensors.js';
import type { ModelDescription } from './shapes.js';

/** An open file of weights. */
export interface OpenWeights {
  /** By the names that they have there. */
  tensors: StoredTensor[];
  /** What the file says of its model, if it does. Errors: `ERR_MODEL_CONFIG` when that cannot be done. */
  describe(): ModelDescription | undefined;
  close(): Promise<void>;
}

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
    throw notTorch(file, 'it does not hold a state dict (a dict of tensors); save model.state_dict()');
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
  const describe = () => (root === state ? undefined : describedByFairseq(root, file));
  return { tensors, describe, close: torch.close };
}

async function openFile(file: string): Promise<OpenWeights> {
  if (await isSafetensors(file)) {
    const { tensors, close } = await openSafetensors(file);
    return { tensors, describe: () => undefined, close };
  }
  const torch = await openTorch(file);
  return orClose(torch, async () => weightsOf(torch, file));
}

/** Each is open while the model is read. transformers' default of 5 GB and more a file makes a handful. */
const mostFiles = 256;

const indexSchema = z.looseObject({ weight_map: byName(z.string()) });

function refuse(file: string, what: string, tensor?: string): EmoframeError {
  return new EmoframeError('ERR_CHECKPOINT', `${file} cannot be used: ${what}.`, { file, tensor });
}

/** Which file holds each tensor, by name. Errors: `ERR_CHECKPOINT`, `ERR_FILE_NOT_FOUND`, `ERR_READ`. */
export async function readShardIndex(index: string): Promise<Map<string, string>> {
  const parsed = indexSchema.safeParse(await readModelJson(index));
  if (!parsed.success) throw refuse(index, describeIssues(parsed.error));
  const places = new Map(Object.entries(parsed.data.weight_map));
  for (const [tensor, file] of places) {
    // No system has a file name with a zero in it.
    if (file !== basename(file) || ['', '.', '..'].includes(file) || file.includes('\0')) {
      throw refuse(index, `it places tensor ${tensor} in ${file}, which is not a file beside it`, tensor);
    }
  }
  const files = new Set(places.values()).size;
  if (files > mostFiles) throw refuse(index, `it names ${files} files, more than ${mostFiles}`);
  return places;
}

/** Opens all files that an index names. */
async function openIndexed(index: string): Promise<OpenWeights> {
  const places = await readShardIndex(index);
  const opened: OpenWeights[] = [];
  const close = async () => {
    for (const file of opened) await file.close();
  };
  return orClose({ close }, async () => {
    const tensors: StoredTensor[] = [];
    for (const name of new Set(places.values())) {
      const file = await openFile(join(dirname(index), name));
      opened.push(file);
      const held = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
      for (const [tensor, place] of places) {
        if (place !== name) continue;
        const found = held.get(tensor);
        if (found === undefined) {
          throw refuse(index, `it places tensor ${tensor} in ${name}, which has no such tensor`, tensor);
        }
        tensors.push(found);
      }
    }
    return { tensors, describe: () => undefined, close };
  });
}

/** Whether a file is an index of weights that are split into several. */
export const isIndex = (file: string): boolean => file.endsWith('.index.json');

/**
 * Opens weights: safetensors; of PyTorch, a state dict, or a checkpoint of fairseq, s3prl or PyTorch Lightning; or an index of such
 * files beside it. Errors: as `openSafetensors` and `openTorch`; `ERR_CHECKPOINT` for an index that its files do not fit.
 */
export function openWeights(file: string): Promise<OpenWeights> {
  return isIndex(file) ? openIndexed(file) : openFile(file);
}
