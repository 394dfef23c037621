// Random access to the stored (not compressed) entries of a zip archive, which is how PyTorch keeps tensors.
import * as yauzl from 'yauzl';
import { EmoframeError } from '../errors.js';

export interface ZipEntry {
  name: string;
  /** Where its bytes begin in the archive. */
  start: number;
  bytes: number;
}

const entryLimit = 100_000;

/**
 * The entries of a zip archive of `size` bytes, by name. All are stored as they are and lie inside the file.
 * Errors: `ERR_CHECKPOINT` (not a zip archive, damaged, compressed, or more than 100 000 entries).
 */
export async function readZipEntries(path: string, size: number): Promise<Map<string, ZipEntry>> {
  const refuse = (what: string, cause?: unknown) =>
    new EmoframeError('ERR_CHECKPOINT', `${path} is not a PyTorch checkpoint that can be read: ${what}.`, {
      file: path,
      cause,
    });
  const entries = new Map<string, ZipEntry>();
  let archive: yauzl.ZipFile | undefined;
  try {
    archive = await yauzl.openPromise(path, { autoClose: false });
    if (archive.entryCount > entryLimit) throw refuse(`it has ${archive.entryCount} entries, more than ${entryLimit}`);
    for await (const entry of archive.eachEntry()) {
      if (entry.compressionMethod !== 0 || entry.isEncrypted()) {
        throw refuse(`its entry ${entry.fileName} is compressed or encrypted, which PyTorch does not do`);
      }
      if (entries.has(entry.fileName)) throw refuse(`it has two entries named ${entry.fileName}`);
      const { fileDataStart: start } = await archive.readLocalFileHeaderPromise(entry, { minimal: true });
      const bytes = entry.uncompressedSize;
      if (bytes !== entry.compressedSize || start + bytes > size) {
        throw refuse(`its entry ${entry.fileName} does not fit into the file`);
      }
      entries.set(entry.fileName, { name: entry.fileName, start, bytes });
    }
    return entries;
  } catch (error) {
    throw error instanceof EmoframeError ? error : refuse((error as Error).message, error);
  } finally {
    archive?.close();
  }
}
