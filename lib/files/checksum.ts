// The size and SHA-256 of a file as it was written, kept in another file, so that a change on disk is detected.
import { createHash, type Hash } from 'node:crypto';
import { z } from 'zod';
import { throwIfAborted } from '../errors.js';
import { fileExists, OpenFile, type Refuse } from './read.js';

export const checksumSchema = z.object({ bytes: z.int().nonnegative(), sha256: z.string() });
export type Checksum = z.infer<typeof checksumSchema>;

/** Hashing blocks the event loop: about 2 ms for so many bytes, after which others get their turn while bytes are read or written. */
export const hashedAtOnce = 1 << 20;

/** The hash, in hexadecimal, of what it has been given and then all bytes of a file. Errors: `ERR_READ`, `ERR_ABORTED`, and those of the file's `refuse`. */
export async function digestOf(file: OpenFile, hash: Hash, signal?: AbortSignal): Promise<string> {
  const buffer = new Uint8Array(Math.min(hashedAtOnce, file.size));
  for (let at = 0; at < file.size; at += buffer.length) {
    throwIfAborted(signal);
    const part = buffer.subarray(0, Math.min(buffer.length, file.size - at));
    await file.readInto(part, at);
    hash.update(part);
  }
  return hash.digest('hex');
}

/** The checksum of a file as it is now. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`; what `refuse` makes for a file that became shorter. */
export async function checksumOf(path: string, refuse: Refuse): Promise<Checksum> {
  const file = await OpenFile.open(path, refuse);
  try {
    return { bytes: file.size, sha256: await digestOf(file, createHash('sha256')) };
  } finally {
    await file.close();
  }
}

/** Errors: what `refuse` makes when the file is missing or does not hold what was written; `ERR_READ`. */
export async function verifyChecksum(path: string, expected: Checksum, refuse: Refuse): Promise<void> {
  if (!(await fileExists(path))) throw refuse('it is missing');
  const found = await checksumOf(path, refuse);
  if (found.bytes !== expected.bytes) throw refuse(`it has ${found.bytes} bytes instead of ${expected.bytes}`);
  if (found.sha256 !== expected.sha256) throw refuse('its contents are not what was written');
}
