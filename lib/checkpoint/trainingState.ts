// One checkpoint: all that training needs to go on as if it had never stopped: weights, the optimiser's moments, and the
// loop's own state. Sizes and checksums are kept, since a run may be resumed days later from a disk that lost power.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { describeIssues } from '../issues.js';
import type { Moments, Tensor } from '../model/tensor.js';
import { directoryExists, streamFileAtomic, writeDirectoryAtomic, writeFileAtomic } from './atomic.js';
import { readJson } from './files.js';
import { checkFinite } from './finite.js';
import { readSafetensors, safetensorsBytes, writeFully } from './safetensors.js';
import { damaged, hashedAtOnce, type Seal, sealSchema, verifySeal } from './seal.js';

export interface TrainingState {
  tensors: Tensor[];
  /** Empty before the first optimiser step. */
  moments: Moments[];
  /** The loop's own, as JSON: step, seed, samplers' positions, best score. */
  state: Record<string, unknown>;
}

const dataFiles = ['model.safetensors', 'moments.safetensors'] as const;
const stateFile = 'state.json';

const stateSchema = z.object({
  format: z.literal(1),
  files: z.object({ 'model.safetensors': sealSchema, 'moments.safetensors': sealSchema }),
  /** Of the state's JSON text without spaces. */
  stateSha256: z.string(),
  state: z.record(z.string(), z.unknown()),
});

async function writeSealed(path: string, tensors: Iterable<Tensor>): Promise<Seal> {
  const hash = createHash('sha256');
  let bytes = 0;
  await streamFileAtomic(path, async (handle) => {
    for (const piece of safetensorsBytes(tensors)) {
      bytes += piece.byteLength;
      for (let at = 0; at < piece.byteLength; at += hashedAtOnce) {
        const part = piece.subarray(at, at + hashedAtOnce);
        hash.update(part);
        await writeFully(handle, part);
      }
    }
  });
  return { bytes, sha256: hash.digest('hex') };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function* momentTensors(moments: Iterable<Moments>): Generator<Tensor> {
  for (const { name, m, v } of moments) {
    yield { name: `m/${name}`, shape: [m.length], data: m };
    yield { name: `v/${name}`, shape: [v.length], data: v };
  }
}

/**
 * Writes a checkpoint directory in one go: a crash leaves the old one or the new one, whole.
 *
 * @param checkpoint.state must be JSON: what JSON cannot hold (NaN, Map, functions) is not kept
 * @throws EmoframeError `ERR_WRITE`, `ERR_TENSOR`, `ERR_NOT_FINITE` (weights are NaN or infinite; the old one stays)
 * @example
 * await saveCheckpoint('tapt/checkpoint/step-1200', {
 *   tensors: await model.exportTensors(), moments: await model.exportMoments(), state: { step: 1200, seed: 1 },
 * });
 */
export async function saveCheckpoint(directory: string, checkpoint: TrainingState): Promise<void> {
  // Weights that have become NaN would make a run that can never go on; the checkpoint before them can.
  await checkFinite(checkpoint.tensors, 'the model in training');
  await writeDirectoryAtomic(directory, async (temporary) => {
    const files = {
      'model.safetensors': await writeSealed(join(temporary, dataFiles[0]), checkpoint.tensors),
      'moments.safetensors': await writeSealed(join(temporary, dataFiles[1]), momentTensors(checkpoint.moments)),
    };
    const text = JSON.stringify(checkpoint.state);
    const content = { format: 1, files, stateSha256: sha256(text), state: checkpoint.state };
    await writeFileAtomic(join(temporary, stateFile), `${JSON.stringify(content)}\n`);
  });
}

/** A checkpoint's file that is missing or malformed was damaged after it was written whole. */
async function orDamaged<T>(file: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const code = error instanceof EmoframeError ? error.code : '';
    if (code === 'ERR_FILE_NOT_FOUND') throw damaged(file, 'it is missing', error);
    if (code === 'ERR_CHECKPOINT') throw damaged(file, (error as Error).message, error);
    throw error;
  }
}

function pairMoments(file: string, tensors: Map<string, Tensor>): Moments[] {
  const moments: Moments[] = [];
  for (const [key, { data: m }] of tensors) {
    if (!key.startsWith('m/')) continue;
    const name = key.slice(2);
    const v = tensors.get(`v/${name}`)?.data;
    if (!v) throw damaged(file, `the second moments of ${name} are missing`);
    moments.push({ name, m, v });
  }
  return moments;
}

/**
 * Reads what `saveCheckpoint` wrote, to the bit; sizes and checksums are verified first.
 *
 * @throws EmoframeError `ERR_FILE_NOT_FOUND` (no such directory), `ERR_CHECKPOINT_DAMAGED` naming the file, `ERR_READ`
 * @example
 * const { tensors, moments, state } = await loadCheckpoint('tapt/checkpoint/step-1200');
 * await model.importTensors(tensors);
 * await model.importMoments(moments);
 */
export async function loadCheckpoint(directory: string): Promise<TrainingState> {
  if (!(await directoryExists(directory))) {
    throw new EmoframeError('ERR_FILE_NOT_FOUND', `There is no checkpoint ${directory}.`, { file: directory });
  }
  const statePath = join(directory, stateFile);
  const parsed = stateSchema.safeParse(await orDamaged(statePath, () => readJson(statePath, 256 << 20)));
  if (!parsed.success) throw damaged(statePath, describeIssues(parsed.error));
  const { files, state, stateSha256 } = parsed.data;
  if (sha256(JSON.stringify(state)) !== stateSha256) throw damaged(statePath, 'its state is not what was written');

  const [model, moments] = dataFiles.map((name) => join(directory, name)) as [string, string];
  const readVerified = (file: string, expected: Seal) =>
    orDamaged(file, async () => {
      await verifySeal(file, expected);
      return (await readSafetensors(file)).tensors;
    });
  const tensors = await readVerified(model, files['model.safetensors']);
  const pairs = await readVerified(moments, files['moments.safetensors']);
  return { tensors: [...tensors.values()], moments: pairMoments(moments, pairs), state };
}
