// Random access to the stored (not compressed) entries of a zip archive, which is how PyTorch keeps tensors.
import * as yauzl from 'yauzl';
import { EmoframeError } from '../../errors.js';
import type { OpenFile, Refuse } from '../../files/read.js';
import { yieldWhenDue } from '../../yield.js';

export interface ZipEntry {
  name: string;
  /** Where its bytes begin in the archive. */
  start: number;
  bytes: number;
}

const entryLimit = 100_000;
/** Read at once where a few bytes are asked for: more are next to them, of thousands of entries. */
const windowBytes = 16384;

/**
 * The archive's bytes for yauzl. A damaged archive makes yauzl ask for bytes at any place, and what it throws in a callback would end
 * the process: both are caught here.
 */
class ArchiveReader extends yauzl.RandomAccessReader {
  /** Rejects when yauzl throws where nobody waits for it. */
  readonly broken: Promise<never>;
  #break: (error: unknown) => void = () => undefined;
  /** Two, as the list of entries and the headers at their data are read in turn. The one that was used last is first. */
  #windows: { start: number; bytes: Uint8Array }[] = [];

  constructor(private readonly file: OpenFile) {
    super();
    this.broken = new Promise((_, reject) => {
      this.#break = reject;
    });
    this.broken.catch(() => undefined);
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    const inside = position >= 0 && position + length <= this.file.size;
    const reading = inside
      ? this.#copy(buffer.subarray(offset, offset + length), position).then(() => ({ error: null, bytesRead: length }))
      : Promise.resolve({ error: new Error('it refers to bytes outside of itself'), bytesRead: 0 });
    reading
      .catch((error: Error) => ({ error, bytesRead: 0 }))
      .then(({ error, bytesRead }) => callback(error, bytesRead))
      .catch(this.#break);
  }

  async #copy(into: Uint8Array, position: number): Promise<void> {
    const { length } = into;
    if (length > windowBytes) return this.file.readInto(into, position);
    const holds = ({ start, bytes }: { start: number; bytes: Uint8Array }) =>
      start <= position && position + length <= start + bytes.length;
    let window = this.#windows.find(holds);
    if (window === undefined) {
      const start = position;
      window = { start, bytes: await this.file.read(start, Math.min(windowBytes, this.file.size - start)) };
    } else await yieldWhenDue();
    into.set(window.bytes.subarray(position - window.start).subarray(0, length));
    this.#windows = [window, ...this.#windows.filter((other) => other !== window)].slice(0, 2);
  }
}

/**
 * The entries of a zip archive, by name. All are stored as they are and lie inside the file.
 * Errors: what `refuse` makes (not a zip archive, damaged, compressed, overlapping, or more than 100 000 entries).
 */
export async function readZipEntries(file: OpenFile, refuse: Refuse): Promise<Map<string, ZipEntry>> {
  const reader = new ArchiveReader(file);
  try {
    return await Promise.race([readEntries(reader, file.size, refuse), reader.broken]);
  } catch (error) {
    throw error instanceof EmoframeError ? error : refuse((error as Error).message, error);
  }
}

async function readEntries(reader: ArchiveReader, size: number, refuse: Refuse): Promise<Map<string, ZipEntry>> {
  const archive = await yauzl.fromRandomAccessReaderPromise(reader, size, { autoClose: false });
  if (archive.entryCount > entryLimit) throw refuse(`it has ${archive.entryCount} entries, more than ${entryLimit}`);
  const entries = new Map<string, ZipEntry>();
  let total = 0;
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
    // Else many entries could be made of one part of the file.
    total += bytes;
    if (total > size) throw refuse('its entries overlap: together they have more bytes than the file');
    entries.set(entry.fileName, { name: entry.fileName, start, bytes });
  }
  return entries;
}
