// What a file held when it was written: its size and SHA-256, kept elsewhere, so that a disk that changed it is found out.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { openForReading, readExactly } from './read.js';

export const sealSchema = z.object({ bytes: z.int().nonnegative(), sha256: z.string() });
export type Seal = z.infer<typeof sealSchema>;

/** Hashing is the event loop's work: about 2 ms of it, and then everybody else's turn while the bytes are written or read. */
export const hashedAtOnce = 1 << 20;

/** What a file holds now. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`. */
export async function sealOf(file: string): Promise<Seal> {
  const { handle, size } = await openForReading(file);
  try {
    const buffer = new Uint8Array(hashedAtOnce);
    const hash = createHash('sha256');
    for (let at = 0; at < size; at += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, size - at));
      await readExactly(handle, file, piece, at);
      hash.update(piece);
    }
    return { bytes: size, sha256: hash.digest('hex') };
  } finally {
    await handle.close();
  }
}

/** Errors: `ERR_CHECKPOINT_DAMAGED` naming the file when it does not hold what was sealed; `ERR_FILE_NOT_FOUND`, `ERR_READ`. */
export async function verifySeal(file: string, expected: Seal): Promise<void> {
  const found = await sealOf(file);
  if (found.bytes !== expected.bytes) throw damaged(file, `it has ${found.bytes} bytes instead of ${expected.bytes}`);
  if (found.sha256 !== expected.sha256) throw damaged(file, 'its bytes are not those that were written');
}

export function damaged(file: string, what: string, cause?: unknown): EmoframeError {
  return new EmoframeError('ERR_CHECKPOINT_DAMAGED', `${file} is damaged: ${what}.`, { file, cause });
}
