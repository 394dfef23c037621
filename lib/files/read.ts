import { type FileHandle, open, stat } from 'node:fs/promises';
import { EmoframeError } from '../errors.js';
import { parseJson } from './json.js';

/** Bytes asked of the system at once: large enough for full disk speed, far below the 2 GiB limit of one read. */
const chunkBytes = 4 << 20;

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Whether an error came from the operating system and not from our own checks. */
export function isSystemError(error: unknown): boolean {
  return !(error instanceof EmoframeError) && /^E[A-Z0-9]+$/.test(codeOf(error) ?? '');
}

/** The system's refusal to read as `ERR_FILE_NOT_FOUND` or `ERR_READ`; anything else as it is. */
export function readError(path: string, error: unknown): unknown {
  if (!isSystemError(error)) return error;
  const code = codeOf(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new EmoframeError('ERR_FILE_NOT_FOUND', `There is no file ${path}.`, { file: path, cause: error });
  }
  const reason = code === 'EISDIR' ? 'it is a directory' : (error as Error).message;
  return new EmoframeError('ERR_READ', `Could not read ${path}: ${reason}.`, { file: path, cause: error });
}

/** Opens a regular file for reading and tells its size in bytes. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`. */
export async function openForReading(path: string): Promise<{ handle: FileHandle; size: number }> {
  try {
    // A pipe would block in open, and its size says nothing, so look before opening.
    const found = await stat(path);
    if (!found.isFile()) {
      throw new EmoframeError('ERR_READ', `Could not read ${path}: it is not a regular file.`, { file: path });
    }
    const handle = await open(path, 'r');
    return { handle, size: (await handle.stat()).size };
  } catch (error) {
    throw readError(path, error);
  }
}

/** Fills `target` from the file at `position`; a file that ends before is `ERR_CHECKPOINT_DAMAGED`. */
export async function readExactly(
  handle: FileHandle,
  path: string,
  target: Uint8Array,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < target.byteLength) {
    const length = Math.min(chunkBytes, target.byteLength - done);
    const { bytesRead } = await handle.read(target, done, length, position + done).catch((error: unknown) => {
      throw readError(path, error);
    });
    if (bytesRead === 0) {
      throw new EmoframeError(
        'ERR_CHECKPOINT_DAMAGED',
        `${path} ends at byte ${position + done}, where ${target.byteLength - done} more were expected; copy or download it again.`,
        { file: path },
      );
    }
    done += bytesRead;
  }
}

/** The bytes of a small file, refused when larger than `limit` bytes (`ERR_CHECKPOINT`). */
export async function readSmallFile(path: string, limit: number): Promise<Uint8Array> {
  const { handle, size } = await openForReading(path);
  try {
    if (size > limit) {
      throw new EmoframeError(
        'ERR_CHECKPOINT',
        `${path} has ${size} bytes; at most ${limit} are expected of such a file.`,
        {
          file: path,
        },
      );
    }
    const bytes = new Uint8Array(size);
    await readExactly(handle, path, bytes, 0);
    return bytes;
  } finally {
    await handle.close();
  }
}

/** A small JSON file, parsed. Errors as `readSmallFile`, and `ERR_CHECKPOINT` when it is not JSON. */
export async function readJson(path: string, limit = 16 << 20): Promise<unknown> {
  const bytes = await readSmallFile(path, limit);
  try {
    return parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new EmoframeError('ERR_CHECKPOINT', `${path} is not valid JSON: ${(error as Error).message}.`, {
      file: path,
      cause: error,
    });
  }
}

export async function fileExists(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    const refusal = readError(path, error);
    if (refusal instanceof EmoframeError && refusal.code === 'ERR_FILE_NOT_FOUND') return false;
    throw refusal;
  }
}
