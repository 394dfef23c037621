// Reading files. What is wrong with a file's content is named by whoever asks for it: this folder knows no formats.
import { createReadStream } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { EmoframeError } from '../errors.js';

/** Bytes asked of the system at once: large enough for full disk speed, far below the 2 GiB limit of one read. */
const chunkBytes = 4 << 20;

/** Makes the error of a file whose content cannot be used; `reason` is a clause such as "it is not valid JSON". */
export type Refuse = (reason: string, cause?: unknown) => EmoframeError;

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

/** Fills `target` with a file's bytes from `position` on, and gives how many there were: fewer where the file ends before. */
export async function readFully(handle: FileHandle, target: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < target.byteLength) {
    const length = Math.min(chunkBytes, target.byteLength - done);
    const { bytesRead } = await handle.read(target, done, length, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** A regular file that is open for reading at any place. */
export class OpenFile {
  private constructor(
    readonly path: string,
    /** Bytes. */
    readonly size: number,
    private readonly handle: FileHandle,
    private readonly refuse: Refuse,
  ) {}

  /** @throws EmoframeError `ERR_FILE_NOT_FOUND`, `ERR_READ`; later what `refuse` makes, for a file that became shorter */
  static async open(path: string, refuse: Refuse): Promise<OpenFile> {
    try {
      // A pipe would block in open, and its size says nothing, so look before opening.
      const found = await stat(path);
      if (!found.isFile()) {
        throw new EmoframeError('ERR_READ', `Could not read ${path}: it is not a regular file.`, { file: path });
      }
      const handle = await open(path, 'r');
      return new OpenFile(path, (await handle.stat()).size, handle, refuse);
    } catch (error) {
      throw readError(path, error);
    }
  }

  /** Fills `target` with the bytes from `position` on. */
  async readInto(target: Uint8Array, position: number): Promise<void> {
    const done = await readFully(this.handle, target, position).catch((error: unknown) => {
      throw readError(this.path, error);
    });
    const missing = target.byteLength - done;
    if (missing === 0) return;
    throw this.refuse(
      `it ends at byte ${position + done}, where ${missing} more were expected; copy or download it again`,
    );
  }

  /** `length` bytes from `position` on. */
  async read(position: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(length);
    await this.readInto(bytes, position);
    return bytes;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

/** What `use` makes of something that is open and stays so; where that fails, it is closed. */
export async function orClose<Result>(opened: { close(): Promise<void> }, use: () => Promise<Result>): Promise<Result> {
  try {
    return await use();
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** The bytes of a file that has at most `limit`. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`, and what `refuse` makes. */
export async function readSmallFile(path: string, limit: number, refuse: Refuse): Promise<Uint8Array> {
  const file = await OpenFile.open(path, refuse);
  try {
    if (file.size > limit) throw refuse(`it has ${file.size} bytes; at most ${limit} are expected of such a file`);
    return await file.read(0, file.size);
  } finally {
    await file.close();
  }
}

/** How long a line may be, and the error for a longer one. */
export interface LineLimit {
  characters: number;
  refuse: (row: number) => EmoframeError;
}

/**
 * Lines that are not empty, numbered from 1, without the byte-order mark that some editors put first. The file is never
 * held whole; with a limit, neither is a line that has no end.
 *
 * @throws EmoframeError `ERR_FILE_NOT_FOUND`, `ERR_READ`, and what `limit.refuse` makes
 */
export async function* readLines(path: string, limit?: LineLimit): AsyncGenerator<{ row: number; line: string }> {
  let rest = '';
  let row = 0;
  try {
    for await (const part of createReadStream(path, { encoding: 'utf8' })) {
      const lines = (rest + part).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        row++;
        if (line.trim() !== '') yield { row, line: withoutMark(line, row) };
      }
      if (limit !== undefined && rest.length > limit.characters) throw limit.refuse(row + 1);
    }
  } catch (error) {
    throw readError(path, error);
  }
  if (rest.trim() !== '') yield { row: row + 1, line: withoutMark(rest, row + 1) };
}

function withoutMark(line: string, row: number): string {
  return row === 1 && line.startsWith('\ufeff') ? line.slice(1) : line;
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
