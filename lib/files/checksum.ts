// The size and SHA-256 of a file as it was written, kept in another file, so that a change on disk is detected.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { fileExists, OpenFile, type Refuse } from './read.js';

export const checksumSchema = z.object({ bytes: z.int().nonnegative(), sha256: z.string() });
export type Checksum = z.infer<typeof checksumSchema>;

/** Hashing blocks the event loop: about 2 ms for so many bytes, after which others get their turn while bytes are read or written. */
export const hashedAtOnce = 1 << 20;

/** The checksum of a file as it is now. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`; what `refuse` makes for a file that became shorter. */
export async function checksumOf(path: string, refuse: Refuse): Promise<Checksum> {
  const file = await OpenFile.open(path, refuse);
  try {
    const buffer = new Uint8Array(hashedAtOnce);
    const hash = createHash('sha256');
    for (let at = 0; at < file.size; at += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, file.size - at));
      await file.readInto(part, at);
      hash.update(part);
    }
    return { bytes: file.size, sha256: hash.digest('hex') };
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
