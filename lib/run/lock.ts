// One process at a time works in a run directory: two would write each other's training states and logs. The lock is the kernel's,
// on a file of the directory, so it ends with the process that holds it, and a run that was killed can be resumed at once. The directory
// itself is locked too: whoever removes the file does not let a second process in. Over a network only the file's lock reaches other
// machines, so its holder looks after it, and makes it again.
import {
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { EmoframeError } from '../errors.js';
import { makeDirectory, writeError } from '../files/atomic.js';
import { closeQuietly, orCloseNow } from '../files/close.js';
import { type Locking, lockDescriptor } from '../files/fileLock.js';
import { forceFileNow } from '../files/force.js';
import { linkError } from '../files/links.js';
import { isDiskFailure, readError } from '../files/read.js';
import { unlikeFile } from '../files/regular.js';
import { emitWarning } from '../warning.js';

/** In the run directory, while a process works there; a killed one leaves it, which means nothing. */
export const lockName = 'run.lock';

/** What {@link RunLock} writes begins so. */
const beginning = '{"pid":';

/** Whether a file holds what a lock of a run holds, or nothing; `written`: not nothing. Errors: `ERR_READ` when the disk fails. */
export function isLockFile(file: string, { written = false } = {}): boolean {
  try {
    if (unlikeFile(lstatSync(file)) !== undefined) return false;
    const descriptor = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const text = contentOf(descriptor);
      return text.startsWith(beginning) || (text === '' && !written);
    } finally {
      closeQuietly(descriptor);
    }
  } catch (error) {
    if (isDiskFailure(error)) throw readError(file, error);
    return false;
  }
}

/** The first bytes, without those that a power cut left empty. */
function contentOf(descriptor: number): string {
  const bytes = Buffer.alloc(64);
  const length = readSync(descriptor, bytes, 0, bytes.length, 0);
  return bytes.toString('latin1', 0, length).replaceAll('\0', '');
}

export class RunLock {
  private constructor(
    readonly directory: string,
    readonly file: string,
    private descriptor: number,
    /** Absent: the directory cannot be locked. */
    private readonly folder: number | undefined,
  ) {}

  /**
   * Takes the directory, which is made if it is missing.
   *
   * @throws EmoframeError `ERR_RUN_IN_USE` naming who has it; `ERR_WRITE`
   */
  static async take(directory: string): Promise<RunLock> {
    const file = join(directory, lockName);
    try {
      await makeDirectory(directory);
      const taken = lockFile(file);
      let folder: number | undefined;
      try {
        folder = lockFolder(directory, file);
        if (taken.locking === 'unsupported' && folder === undefined) {
          emitWarning(
            `${file} cannot be locked, as its file system has no locks: make sure yourself that no other process uses this run directory.`,
          );
        }
        writeHolder(taken.descriptor);
        return new RunLock(directory, file, taken.descriptor, folder);
      } catch (error) {
        // Only who has the directory has a right to the file.
        removeAndClose(file, taken.descriptor);
        if (folder !== undefined) closeQuietly(folder);
        throw error;
      }
    } catch (error) {
      throw writeError(file, error);
    }
  }

  /**
   * Makes the lock's file again where somebody removed it.
   *
   * @throws EmoframeError `ERR_RUN_IN_USE` when another process has the directory since; `ERR_WRITE`
   */
  keep(): void {
    if (isNamed(this.descriptor, this.file)) return;
    try {
      const { descriptor } = lockFile(this.file);
      closeQuietly(this.descriptor);
      this.descriptor = descriptor;
      writeHolder(descriptor);
    } catch (error) {
      // One that has it for a moment, and finds that the directory is taken, has written nothing there.
      const passing =
        error instanceof EmoframeError && error.code === 'ERR_RUN_IN_USE' && !isLockFile(this.file, { written: true });
      if (!passing) throw writeError(this.file, error);
    }
  }

  /** Lets others in. With `leaveMark` the file stays, which says that what else is there is of a run. */
  release({ leaveMark = false } = {}): void {
    try {
      if (!leaveMark && isNamed(this.descriptor, this.file)) removeAndClose(this.file, this.descriptor);
      else closeQuietly(this.descriptor);
    } catch {
      // A disk that does not say whose the file is leaves it there.
      closeQuietly(this.descriptor);
    }
    if (this.folder !== undefined) closeQuietly(this.folder);
  }
}

/** Locks the file of that name, which is made. */
function lockFile(file: string): { descriptor: number; locking: Locking } {
  for (;;) {
    const descriptor = openOwn(file);
    let kept = false;
    try {
      const locking = lockDescriptor(descriptor);
      if (locking === 'busy') throw inUse(file);
      // It may have been removed by the one who held it, between our opening and our locking it.
      if (!isNamed(descriptor, file)) continue;
      if (fstatSync(descriptor).nlink > 1) {
        // Another name of it, as in a snapshot made of hard links, keeps what it holds.
        rmSync(file, { force: true });
        continue;
      }
      kept = true;
      return { descriptor, locking };
    } finally {
      if (!kept) closeQuietly(descriptor);
    }
  }
}

/** Opens the file, or makes it, if it is one of ours: it will be written over. */
function openOwn(file: string): number {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let descriptor: number;
  try {
    descriptor = openSync(file, flags, 0o666);
  } catch (error) {
    throw (error as { code?: string }).code === 'ELOOP' ? linkError(file, error) : error;
  }
  return orCloseNow(descriptor, () => {
    const unlike = unlikeFile(fstatSync(descriptor));
    const content = unlike === undefined ? contentOf(descriptor) : '';
    if (unlike === undefined && (content === '' || content.startsWith(beginning))) return descriptor;
    throw new EmoframeError(
      'ERR_WRITE',
      `Could not write ${file}: it is ${unlike ?? 'a file'} that no run made; move it away, or choose another folder.`,
      { file },
    );
  });
}

/** Locks the directory; nothing where that cannot be done. */
function lockFolder(directory: string, file: string): number | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return undefined;
  }
  const locking = lockDescriptor(descriptor);
  if (locking === 'taken') return descriptor;
  closeQuietly(descriptor);
  if (locking === 'busy') throw inUse(file);
  return undefined;
}

/** The file also marks what a run that is stopped in its first moments leaves as that of a run, so it must be on disk before. */
function writeHolder(descriptor: number): void {
  ftruncateSync(descriptor);
  const holder = Buffer.from(`${JSON.stringify({ pid: process.pid, host: hostname(), since: new Date() })}\n`);
  for (let done = 0; done < holder.length; ) done += writeSync(descriptor, holder, done, holder.length - done, done);
  forceFileNow(descriptor);
}

/** Whether what is open is still what has the name. */
function isNamed(descriptor: number, file: string): boolean {
  const [open, named] = [fstatSync(descriptor), lstatSync(file, { throwIfNoEntry: false })];
  return open.ino === named?.ino && open.dev === named.dev;
}

/** Removes the file first: who opens it until it is closed sees that it is no longer the one of that name. */
function removeAndClose(file: string, descriptor: number): void {
  try {
    rmSync(file);
  } catch {
    // Left there it does no harm.
  }
  closeQuietly(descriptor);
}

function inUse(file: string): EmoframeError {
  return new EmoframeError(
    'ERR_RUN_IN_USE',
    `The run directory of ${file} is in use by ${holder(file)}: wait for it to end, or stop it, and then resume; or choose another folder.`,
    { file },
  );
}

/** Who wrote the file, as far as it can be read: its writer may be at it just now. */
function holder(file: string): string {
  try {
    const { pid, host, since } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    return `process ${Number(pid)} on ${String(host)} since ${String(since)}`;
  } catch {
    return 'another process';
  }
}
