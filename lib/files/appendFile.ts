import {
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  fsync,
  ftruncateSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { EmoframeError } from '../errors.js';
import { writeError } from './atomic.js';
import { closeQuietly, orCloseNow } from './close.js';
import { makeFoldersSync } from './folders.js';
import { forceFile } from './force.js';
import { linkError } from './links.js';
import { unlikeFile } from './regular.js';
import { temporaryName } from './temporaries.js';

const fsyncLater = promisify(fsync);

/** Nothing is opened through a link, and no pipe is waited for. */
const appending = constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * An open file that is only written at its end. Writes are synchronous: a record is some hundred bytes, handed to the
 * system before the call returns, so that a kill of the process loses nothing and records never change places.
 */
export class AppendFile {
  private descriptor: number | undefined;
  #size: number;

  private constructor(
    readonly path: string,
    descriptor: number,
  ) {
    this.descriptor = descriptor;
    this.#size = fstatSync(descriptor).size;
  }

  /** Begins a file under the first name that nothing has yet. Missing parent directories are made. Errors: `ERR_WRITE`. */
  static createFirst(nextPath: () => string): AppendFile {
    for (;;) {
      const path = nextPath();
      try {
        return AppendFile.#opened(path, () => openSync(path, appending | constants.O_CREAT | constants.O_EXCL, 0o666));
      } catch (error) {
        // A folder that cannot be made may say the same.
        const { code, syscall } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
        if (code !== 'EEXIST' || syscall !== 'open') throw error;
      }
    }
  }

  /**
   * Opens a file, or begins it, and cuts off what `endOf` leaves of it. A link is refused; a file that has another name too, as in a
   * snapshot made of hard links, keeps its bytes under that one. Errors: `ERR_WRITE`.
   */
  static open(path: string, endOf: (descriptor: number) => number): AppendFile {
    return AppendFile.#opened(path, () => {
      const descriptor = openOfOneName(path);
      return orCloseNow(descriptor, () => {
        const end = endOf(descriptor);
        if (end < fstatSync(descriptor).size) ftruncateSync(descriptor, end);
        return descriptor;
      });
    });
  }

  static #opened(path: string, open: () => number): AppendFile {
    try {
      makeFoldersSync(dirname(path));
      const descriptor = open();
      return orCloseNow(descriptor, () => new AppendFile(path, descriptor));
    } catch (error) {
      throw writeError(path, error);
    }
  }

  /** All of the bytes or none. Errors: `ERR_WRITE`, `ERR_DISPOSED` after `close`. */
  append(bytes: Uint8Array): void {
    if (this.descriptor === undefined) {
      throw new EmoframeError('ERR_DISPOSED', `The log ${this.path} is closed; open it again to write.`, {
        file: this.path,
      });
    }
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.descriptor, bytes, done);
      this.#size += bytes.length;
    } catch (error) {
      // What comes next must not be joined to half a record.
      truncateQuietly(this.descriptor, this.#size);
      throw writeError(this.path, error);
    }
  }

  /** Forces everything to disk, which may take as long as the disk is busy. Errors: `ERR_WRITE`. */
  async sync(): Promise<void> {
    if (this.descriptor !== undefined) await this.force(this.descriptor);
  }

  /** Forces everything to disk and closes; a second call does nothing. Errors: `ERR_WRITE`. */
  async close(): Promise<void> {
    if (this.descriptor === undefined) return;
    const descriptor = this.descriptor;
    this.descriptor = undefined;
    try {
      await this.force(descriptor);
    } catch (error) {
      closeQuietly(descriptor);
      throw error;
    }
    try {
      closeSync(descriptor);
    } catch (error) {
      throw writeError(this.path, error);
    }
  }

  private async force(descriptor: number): Promise<void> {
    try {
      await forceFile(fsyncLater(descriptor));
    } catch (error) {
      throw writeError(this.path, error);
    }
  }
}

/** Opens a file that has no other name; one that has gives way to a copy. */
function openOfOneName(path: string): number {
  const descriptor = openOwn(path);
  const { nlink } = orCloseNow(descriptor, () => fstatSync(descriptor));
  if (nlink <= 1) return descriptor;
  closeQuietly(descriptor);
  giveOwnBytes(path);
  return openOwn(path);
}

function openOwn(path: string): number {
  let descriptor: number;
  try {
    descriptor = openSync(path, appending | constants.O_CREAT, 0o666);
  } catch (error) {
    throw (error as { code?: string }).code === 'ELOOP' ? linkError(path, error) : error;
  }
  const unlike = orCloseNow(descriptor, () => unlikeFile(fstatSync(descriptor)));
  if (unlike === undefined) return descriptor;
  closeQuietly(descriptor);
  throw new EmoframeError('ERR_WRITE', `Could not write ${path}: it is ${unlike}; move it away.`, { file: path });
}

/** Puts a copy in the place of a file. */
function giveOwnBytes(path: string): void {
  const temporary = temporaryName(path);
  try {
    copyFileSync(path, temporary, constants.COPYFILE_EXCL);
    renameSync(temporary, path);
  } catch (error) {
    removeQuietly(temporary);
    throw error;
  }
}

function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // What went wrong before is told.
  }
}

function truncateQuietly(descriptor: number, size: number): void {
  try {
    ftruncateSync(descriptor, size);
  } catch {
    // What went wrong before is told.
  }
}
