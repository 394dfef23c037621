// Reading files. What is wrong with a file's content is named by whoever asks for it: this folder knows no formats.
import type { Stats } from 'node:fs';
import { type FileHandle, stat } from 'node:fs/promises';
import { constants } from 'node:os';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { yieldWhenDue } from '../yield.js';
import { answered, openRegular } from './regular.js';

/** Bytes asked of the system at once: large enough for full disk speed, far below the 2 GiB limit of one read. */
const chunkBytes = 4 << 20;
const partBytes = 1 << 20;
/** Bytes that are made lines of without a break. */
const splitAtOnce = 1 << 16;

/** Makes the error of a file whose content cannot be used; `reason` is a clause such as "it is not valid JSON". */
export type Refuse = (reason: string, cause?: unknown) => EmoframeError;

const namesByNumber = new Map(Object.entries(constants.errno).map(([name, number]) => [-number, name]));

/** The system's name of its refusal, such as ENOSPC; undefined for what did not come from the operating system. */
export function systemCode(error: unknown): string | undefined {
  if (error instanceof EmoframeError) return undefined;
  const { code, errno } = (error ?? {}) as { code?: unknown; errno?: unknown };
  if (typeof code !== 'string') return undefined;
  // Node does not even ask the system for a name with a zero in it, which no file has.
  if (error instanceof TypeError && error.message.includes('without null bytes')) return 'ENOENT';
  if (/^E[A-Z0-9]+$/.test(code)) return code;
  // Some, such as a quota that is used up, Node knows by number alone.
  const unnamed = code === 'UNKNOWN' || code.startsWith('Unknown system error');
  return unnamed ? (namesByNumber.get(errno as number) ?? code) : undefined;
}

/** What an error says; that of the system begins with the name of its refusal. */
export function systemMessage(error: unknown): string {
  const code = systemCode(error);
  const message = error instanceof Error ? error.message : String(error);
  return code === undefined || message.startsWith(code) ? message : `${code}: ${message}`;
}

/** Whether an error came from the operating system and not from our own checks. */
export function isSystemError(error: unknown): boolean {
  return systemCode(error) !== undefined;
}

/** The system's refusal to read as `ERR_FILE_NOT_FOUND` or `ERR_READ`; anything else as it is. */
export function readError(path: string, error: unknown): unknown {
  const code = systemCode(error);
  if (code === undefined) return error;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new EmoframeError('ERR_FILE_NOT_FOUND', `There is no file ${path}.`, { file: path, cause: error });
  }
  const reason = code === 'EISDIR' ? 'it is a directory' : systemMessage(error);
  return new EmoframeError('ERR_READ', `Could not read ${path}: ${reason}.`, { file: path, cause: error });
}

/** A file whose content no reader of ours judges. */
export const unreadable =
  (path: string): Refuse =>
  (reason, cause) =>
    new EmoframeError('ERR_READ', `Could not read ${path}: ${reason}.`, { file: path, cause });

/** A regular file that is open for reading at any place. What is added to it while it is open is not read. */
export class OpenFile {
  /** A call that the system does not answer is not waited for a second time. */
  #stalled = false;

  private constructor(
    readonly path: string,
    /** Of the file when it was opened. */
    readonly stats: Stats,
    private readonly handle: FileHandle,
    private readonly refuse: Refuse,
  ) {}

  /** @throws EmoframeError `ERR_FILE_NOT_FOUND`, `ERR_READ`; later what `refuse` makes, for a file that became shorter */
  static async open(path: string, refuse: Refuse): Promise<OpenFile> {
    try {
      const { handle, stats } = await openRegular(path);
      return new OpenFile(path, stats, handle, refuse);
    } catch (error) {
      throw readError(path, error);
    }
  }

  /** Bytes. */
  get size(): number {
    return this.stats.size;
  }

  /** Fills `target` with the bytes from `position` on, and gives how many there were: fewer where the file ends before. Errors: `ERR_READ` */
  async readUpTo(target: Uint8Array, position: number): Promise<number> {
    const wanted = Math.min(target.byteLength, Math.max(this.size - position, 0));
    let done = 0;
    try {
      while (done < wanted) {
        const length = Math.min(chunkBytes, wanted - done);
        const { bytesRead } = await answered(this.handle.read(target, done, length, position + done));
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (error) {
      this.#stalled = systemCode(error) === 'ETIMEDOUT';
      throw readError(this.path, error);
    }
    return done;
  }

  /** Fills `target` with the bytes from `position` on. Errors: `ERR_READ`, and what `refuse` makes */
  async readInto(target: Uint8Array, position: number): Promise<void> {
    const done = await this.readUpTo(target, position);
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

  /** Never fails: of a file that was only read, nothing can be lost. */
  async close(): Promise<void> {
    const closed = this.handle.close().catch(() => undefined);
    if (!this.#stalled) await closed;
  }
}

/** What `use` makes of something that is open and stays so; where that fails, it is closed. */
export async function orClose<Result>(opened: { close(): Promise<void> }, use: () => Promise<Result>): Promise<Result> {
  try {
    return await use();
  } catch (error) {
    await opened.close().catch(() => undefined);
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

/** All bytes of a file, a part after another, each in memory of its own. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`, `ERR_ABORTED`. */
export async function* readParts(path: string, signal?: AbortSignal): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const file = await OpenFile.open(path, unreadable(path));
  try {
    for (let at = 0; at < file.size; at += partBytes) {
      throwIfAborted(signal);
      yield await file.read(at, Math.min(partBytes, file.size - at));
    }
  } finally {
    await file.close();
  }
}

/** The text of a file that has at most `limit` bytes. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ` for a larger one too. */
export async function readText(path: string, limit: number): Promise<string> {
  return new TextDecoder().decode(await readSmallFile(path, limit, unreadable(path)));
}

/** How long a line may be, and the error for a longer one. */
export interface LineLimit {
  characters: number;
  refuse: (row: number) => EmoframeError;
}

/** The bytes of a file, so few at once that they may be lines without anything in them. */
async function* piecesOf(path: string, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  for await (const part of readParts(path, signal)) {
    for (let at = 0; at < part.length; at += splitAtOnce) {
      await yieldWhenDue();
      yield part.subarray(at, at + splitAtOnce);
    }
  }
}

/**
 * Lines that are not empty, numbered from 1, without the byte-order mark that some editors put first. The file is never
 * held whole; with a limit, neither is a line that has no end.
 *
 * @throws EmoframeError `ERR_FILE_NOT_FOUND`, `ERR_READ`, `ERR_ABORTED`, and what `limit.refuse` makes
 */
export async function* readLines(
  path: string,
  limit?: LineLimit,
  signal?: AbortSignal,
): AsyncGenerator<{ row: number; line: string }> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let rest = '';
  let row = 0;
  for await (const part of piecesOf(path, signal)) {
    // What came before is not split again: a long line would take time by the square of its length.
    const lines = decoder.decode(part, { stream: true }).split('\n');
    const last = lines.pop() ?? '';
    if (lines.length > 0) lines[0] = rest + lines[0]!;
    rest = lines.length > 0 ? last : rest + last;
    for (const line of lines) {
      row++;
      if (line.trim() !== '') yield { row, line: withoutMark(line, row) };
    }
    if (limit !== undefined && rest.length > limit.characters) throw limit.refuse(row + 1);
  }
  rest += decoder.decode();
  if (rest.trim() !== '') yield { row: row + 1, line: withoutMark(rest, row + 1) };
}

function withoutMark(line: string, row: number): string {
  return row === 1 && line.startsWith('\ufeff') ? line.slice(1) : line;
}

/**
 * What a call gives of a path; nothing where there is no such file or folder. That a disk refuses to say is no sign that there is none.
 *
 * @throws EmoframeError `ERR_READ`
 */
export async function unlessAbsent<Result>(path: string, call: Promise<Result>): Promise<Result | undefined> {
  try {
    return await call;
  } catch (error) {
    const refusal = readError(path, error);
    if (refusal instanceof EmoframeError && refusal.code === 'ERR_FILE_NOT_FOUND') return undefined;
    throw refusal;
  }
}

/**
 * What the system says of a path.
 *
 * @throws EmoframeError `ERR_FILE_NOT_FOUND`, `ERR_READ`
 */
export async function statsOf(path: string): Promise<Stats> {
  return answered(stat(path)).catch((error: unknown) => {
    throw readError(path, error);
  });
}

export async function fileExists(path: string): Promise<boolean> {
  return (await unlessAbsent(path, statsOf(path)))?.isFile() === true;
}

/** How the system, or our look at what is opened, says that a name leads to no file that may be read. */
const unreachable = ['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP', 'EACCES', 'EPERM', 'EISDIR', 'EINVAL'];

/** Whether a disk or server failed, which says nothing of what is there. */
export function isDiskFailure(error: unknown): boolean {
  const code = systemCode(error instanceof EmoframeError ? error.cause : error);
  return code !== undefined && !unreachable.includes(code);
}

/**
 * What is at a path that a user's list names; nothing where it leads to nothing that may be read.
 *
 * @throws EmoframeError `ERR_READ` when the disk does not say
 */
export async function statOfNamed(path: string): Promise<Stats | undefined> {
  return statsOf(path).catch((error: unknown) => {
    if (isDiskFailure(error)) throw error;
    return undefined;
  });
}
