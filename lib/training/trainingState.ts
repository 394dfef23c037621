// A training state: all that training needs to go on as if it had never stopped, which is weights, the optimiser's moments and
// the loop's own state. Sizes and checksums are kept, since a run may be resumed days later from a disk that lost power.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { damaged } from '../checkpoint/failures.js';
import { checkedWhenRead } from '../checkpoint/finite.js';
import { openSafetensors, type SafetensorsFile, safetensorsBytes } from '../checkpoint/safetensors.js';
import { EmoframeError } from '../errors.js';
import {
  directoryExists,
  streamFileAtomic,
  writeDirectoryAtomic,
  writeFileAtomic,
  writeFully,
} from '../files/atomic.js';
import { type Checksum, checksumSchema, hashedAtOnce, verifyChecksum } from '../files/checksum.js';
import { readJson } from '../files/json.js';
import { orClose } from '../files/read.js';
import { byName, describeIssues } from '../issues.js';
import type { StoredMoments, StoredTensor } from '../model/tensor.js';

export interface TrainingState {
  /** Read one after another while they are written. */
  tensors: StoredTensor[];
  /** Empty before the first optimiser step. */
  moments: StoredMoments[];
  /** A mean of weights; absent where training keeps none. */
  average?: StoredTensor[];
  /** The loop's own, as JSON: step, seed, samplers' positions, best score. */
  state: Record<string, unknown>;
}

const dataFiles = ['model.safetensors', 'moments.safetensors', 'average.safetensors'] as const;
const stateFile = 'state.json';

const stateSchema = z.object({
  format: z.literal(1),
  files: z.strictObject({
    'model.safetensors': checksumSchema,
    'moments.safetensors': checksumSchema,
    'average.safetensors': checksumSchema.optional(),
  }),
  /** Of the state's JSON text without spaces. */
  stateSha256: z.string(),
  state: byName(z.unknown()),
});

async function writeWithChecksum(path: string, tensors: Iterable<StoredTensor>): Promise<Checksum> {
  const hash = createHash('sha256');
  let bytes = 0;
  await streamFileAtomic(path, async (handle) => {
    for await (const part of safetensorsBytes(tensors)) {
      bytes += part.byteLength;
      for (let at = 0; at < part.byteLength; at += hashedAtOnce) {
        const block = part.subarray(at, at + hashedAtOnce);
        hash.update(block);
        await writeFully(handle, block);
      }
    }
  });
  return { bytes, sha256: hash.digest('hex') };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function momentTensors(moments: StoredMoments[]): StoredTensor[] {
  return moments.flatMap(({ name, m, v }) => [
    { ...m, name: `m/${name}` },
    { ...v, name: `v/${name}` },
  ]);
}

/**
 * Writes a training state as a directory, in one go: a crash leaves the old one or the new one, whole. Its `state` must be JSON:
 * what JSON cannot hold (NaN, Map, functions) is not kept.
 *
 * @throws EmoframeError `ERR_WRITE`, `ERR_TENSOR`, `ERR_NOT_FINITE` (weights are NaN or infinite; the old one stays)
 * @example
 * await saveTrainingState('tapt/checkpoint/step-1200', {
 *   tensors: model.storedTensors(), moments: await model.storedMoments(), state: { step: 1200, seed: 1 },
 * });
 */
export async function saveTrainingState(directory: string, training: TrainingState): Promise<void> {
  const { moments, average, state } = training;
  // Weights that have become NaN would make a run that can never go on; from the state before them it can.
  const tensors = checkedWhenRead(training.tensors, 'the model in training');
  await writeDirectoryAtomic(directory, async (temporary) => {
    const files = {
      'model.safetensors': await writeWithChecksum(join(temporary, dataFiles[0]), tensors),
      'moments.safetensors': await writeWithChecksum(join(temporary, dataFiles[1]), momentTensors(moments)),
      ...(average !== undefined && {
        'average.safetensors': await writeWithChecksum(join(temporary, dataFiles[2]), average),
      }),
    };
    const content = { format: 1, files, stateSha256: sha256(JSON.stringify(state)), state };
    await writeFileAtomic(join(temporary, stateFile), `${JSON.stringify(content)}\n`);
  });
}

/** A file of a training state that is missing or malformed was damaged after it was written whole. */
async function orDamaged<T>(file: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const code = error instanceof EmoframeError ? error.code : '';
    if (code === 'ERR_FILE_NOT_FOUND') throw damaged(file)('it is missing', error);
    if (code === 'ERR_CHECKPOINT') throw damaged(file)((error as Error).message, error);
    throw error;
  }
}

function pairMoments(file: string, tensors: readonly StoredTensor[]): StoredMoments[] {
  const named = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return tensors
    .filter(({ name }) => name.startsWith('m/'))
    .map((m) => {
      const name = m.name.slice(2);
      const v = named.get(`v/${name}`);
      if (!v) throw damaged(file)(`the second moments of ${name} are missing`);
      return { name, m, v };
    });
}

/** A training state whose tensors are read when they are asked for, until it is closed. */
export interface OpenTrainingState extends TrainingState {
  close(): Promise<void>;
}

/**
 * Opens what `saveTrainingState` wrote; sizes and checksums are verified first.
 *
 * @throws EmoframeError `ERR_FILE_NOT_FOUND` (no such directory), `ERR_CHECKPOINT_DAMAGED` naming the file, `ERR_READ`
 * @example
 * const { tensors, moments, state, close } = await openTrainingState('tapt/checkpoint/step-1200');
 * await model.importTensors(tensors);
 * await model.importMoments(moments);
 * await close();
 */
export async function openTrainingState(directory: string): Promise<OpenTrainingState> {
  if (!(await directoryExists(directory))) {
    throw new EmoframeError('ERR_FILE_NOT_FOUND', `There is no training state ${directory}.`, { file: directory });
  }
  const statePath = join(directory, stateFile);
  const refuse = damaged(statePath);
  const parsed = stateSchema.safeParse(await orDamaged(statePath, () => readJson(statePath, 256 << 20, refuse)));
  if (!parsed.success) throw refuse(describeIssues(parsed.error));
  const { files, state, stateSha256 } = parsed.data;
  if (sha256(JSON.stringify(state)) !== stateSha256) throw refuse('its state is not what was written');

  const open: SafetensorsFile[] = [];
  const close = async () => {
    for (const file of open) await file.close();
  };
  return orClose({ close }, async () => {
    for (const name of dataFiles) {
      const checksum = files[name];
      if (checksum === undefined) continue;
      const file = join(directory, name);
      await orDamaged(file, async () => {
        await verifyChecksum(file, checksum, damaged(file));
        open.push(await openSafetensors(file));
      });
    }
    const [model, moments, average] = open as [SafetensorsFile, SafetensorsFile, SafetensorsFile?];
    return {
      tensors: model.tensors,
      moments: pairMoments(join(directory, dataFiles[1]), moments.tensors),
      ...(average !== undefined && { average: average.tensors }),
      state,
      close,
    };
  });
}
