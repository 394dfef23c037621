// One process at a time works in a run directory: two would write each other's training states and logs. The lock is the kernel's,
// on a file of the directory, so it ends with the process that holds it, and a run that was killed can be resumed at once.
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { EmoframeError } from '../errors.js';
import { makeDirectory, writeError } from '../files/atomic.js';
import { binding } from '../model/binding.js';
import { emitWarning } from '../warning.js';

/** In the run directory, while a process works there; a killed one leaves it, which means nothing. */
export const lockName = 'run.lock';

export class RunLock {
  private constructor(
    readonly file: string,
    private readonly descriptor: number,
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
      for (;;) {
        const lock = RunLock.#try(file);
        if (lock !== undefined) return lock;
      }
    } catch (error) {
      throw writeError(file, error);
    }
  }

  /** Undefined where the file was removed by the one who held it, between our opening and our locking it. */
  static #try(file: string): RunLock | undefined {
    const descriptor = openSync(file, 'a+', 0o666);
    let kept = false;
    try {
      const outcome = binding().lockFile(descriptor);
      if (outcome === 'busy') throw inUse(file);
      if (outcome === 'unsupported') {
        emitWarning(
          `${file} cannot be locked, as its file system has no locks: make sure yourself that no other process uses this run directory.`,
        );
      }
      if (fstatSync(descriptor).ino !== statSync(file, { throwIfNoEntry: false })?.ino) return undefined;
      ftruncateSync(descriptor);
      writeSync(descriptor, `${JSON.stringify({ pid: process.pid, host: hostname(), since: new Date() })}\n`);
      kept = true;
      return new RunLock(file, descriptor);
    } finally {
      if (!kept) closeSync(descriptor);
    }
  }

  /** Removes the file first: who opens it until it is closed sees that it is no longer the one of that name. */
  release(): void {
    try {
      rmSync(this.file);
    } catch {
      // Left there it does no harm.
    }
    closeSync(this.descriptor);
  }
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
