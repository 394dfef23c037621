// Weights split into several files: an index names, for each tensor, the file beside it that holds it.
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { describeIssues } from '../issues.js';
import type { StoredTensor } from '../model/tensor.js';
import { readModelJson } from './failures.js';
import type { OpenWeights } from './weights.js';

/** Each is open while the model is read. transformers' default of 5 GB and more a file makes a handful. */
const mostFiles = 256;

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

function refuse(file: string, what: string, tensor?: string): EmoframeError {
  return new EmoframeError('ERR_CHECKPOINT', `${file} cannot be used: ${what}.`, {
    file,
    ...(tensor === undefined ? {} : { tensor }),
  });
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

/** Opens all files that an index names, each by `open`. Errors: `ERR_CHECKPOINT`, `ERR_FILE_NOT_FOUND`, and as `open`. */
export async function openSharded(index: string, open: (file: string) => Promise<OpenWeights>): Promise<OpenWeights> {
  const places = await readShardIndex(index);
  const opened: OpenWeights[] = [];
  const close = async () => {
    for (const file of opened) await file.close();
  };
  try {
    const tensors: StoredTensor[] = [];
    for (const name of new Set(places.values())) {
      const file = await open(join(dirname(index), name));
      opened.push(file);
      const held = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
      for (const [tensor, place] of places) {
        if (place !== name) continue;
        const found = held.get(tensor);
        if (found === undefined)
          throw refuse(index, `it places tensor ${tensor} in ${name}, which has none of that name`, tensor);
        tensors.push(found);
      }
    }
    return { tensors, close };
  } catch (error) {
    await close();
    throw error;
  }
}
