// Files and directories that are complete or absent, whenever the process or the machine stops: everything is written
// under a temporary name beside its place, forced to disk, and then renamed, which the file system does in one step.
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { EmoframeError } from '../errors.js';
import { makeFolders } from './folders.js';
import { systemCode } from './read.js';

/** Temporaries that this process is writing now, so that cleaning up does not take them for leftovers. */
const underway = new Set<string>();

const reasons: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space and try again',
  EDQUOT: 'the disk quota is used up; free some space and try again',
  EACCES: 'permission denied; choose a place that you may write to',
  EPERM: 'permission denied; choose a place that you may write to',
  EROFS: 'the file system is read-only; choose a place that you may write to',
  EFBIG: 'the file would be larger than the limit on file sizes (ulimit -f); raise it and try again',
  ENOTDIR: 'a part of the path is a file, not a directory',
  EISDIR: 'it is a directory',
};

/** The system's refusal to write, as `ERR_WRITE` naming the path; anything else as it is. */
export function writeError(path: string, error: unknown): unknown {
  const code = systemCode(error);
  if (code === undefined) return error;
  return new EmoframeError('ERR_WRITE', `Could not write ${path}: ${reasons[code] ?? (error as Error).message}.`, {
    file: path,
    cause: error,
  });
}

/** Forces a file's bytes, or a directory's list of names, to disk. */
async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncTree(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await sync(path);
  }
  await sync(directory);
}

/**
 * Makes a directory and the parents that it lacks, so that a power cut does not take them away again: a new name is safe
 * only when the directory that holds it is on disk.
 */
export async function makeDirectory(path: string): Promise<void> {
  const first = await makeFolders(path);
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await sync(dirname(made));
}

/** Where a path leads: a link stays a link, and what it points to is replaced. */
async function place(path: string): Promise<string> {
  return realpath(path).catch(() => resolve(path));
}

/** `.NAME.new-PID-RANDOM` beside `path`. */
function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.new-${process.pid}-${randomBytes(4).toString('hex')}`);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === 'EPERM';
  }
}

/** Removes temporaries in a directory whose writer is gone: all, or those of one name. */
export async function removeLeftovers(directory: string, ofName?: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const [, replaced, pid] = /^\.(.+)\.new-(\d+)-[0-9a-f]{8}$/.exec(name) ?? [];
    if (pid === undefined || (ofName !== undefined && replaced !== ofName)) continue;
    const leftover = join(directory, name);
    // A process id may come round again, above all in containers: one of our own that is not under way is a leftover too.
    const inUse = Number(pid) === process.pid ? underway.has(leftover) : isRunning(Number(pid));
    if (!inUse) await rm(leftover, { recursive: true, force: true });
  }
}

/**
 * Writes all of `bytes`, at the end of what was written or at `position`: one call of the system may take less than it was given,
 * and never more than 2 GiB.
 */
export async function writeFully(handle: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const length = Math.min(64 << 20, bytes.byteLength - done);
    const { bytesWritten } = await handle.write(bytes, done, length, position === undefined ? null : position + done);
    done += bytesWritten;
  }
}

/**
 * Writes a file through `write`, which gets a handle opened for writing, so that `path` holds the old bytes or all the
 * new ones, never a part. Missing parent directories are made. Errors: `ERR_WRITE`.
 */
export async function streamFileAtomic(path: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  const target = await place(path);
  const temporary = temporaryName(target);
  underway.add(temporary);
  try {
    await makeDirectory(dirname(target));
    await removeLeftovers(dirname(target), basename(target));
    const handle = await open(temporary, 'wx', 0o666);
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, target);
    await sync(dirname(target));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw writeError(path, error);
  } finally {
    underway.delete(temporary);
  }
}

/**
 * Writes a file so that it holds the old bytes or all the new ones, never a part; after a crash too. Errors: `ERR_WRITE`.
 *
 * @example
 * await writeFileAtomic('run/config.json', JSON.stringify(config));
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  await streamFileAtomic(path, (handle) => handle.writeFile(data));
}

/** Whether there is anything at a path. */
export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

async function names(directory: string): Promise<string[] | undefined> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Where a complete new directory waits for its place, and where the old one waits to be removed. */
const waitingPlaces = (path: string) => ({
  ready: join(dirname(path), `.${basename(path)}.ready`),
  old: join(dirname(path), `.${basename(path)}.old`),
});

/**
 * Brings a directory written by `writeDirectoryAtomic` back to its place when a crash came between the two renames of
 * its exchange. Every reader of such a directory calls this first. A directory that was never written is left missing.
 * Errors: `ERR_WRITE`.
 */
export async function recoverDirectory(path: string): Promise<void> {
  const target = await place(path);
  const { ready, old } = waitingPlaces(target);
  // Look at single names: a reader need not be allowed to list, or to write, the parent of a sound directory.
  if (await exists(target)) return;
  for (const whole of [ready, old]) {
    if (!(await exists(whole))) continue;
    try {
      await rename(whole, target);
      await sync(dirname(target));
    } catch (error) {
      // A live writer, or another reader, was quicker to bring it back.
      if (!(await exists(target))) throw writeError(path, error);
    }
    return;
  }
}

/**
 * Fills a new directory and puts it in the place of `path` in one go: at any moment, `path` (after `recoverDirectory`,
 * which all readers here call) is the whole old directory or the whole new one. Missing parents are made.
 *
 * What is there is replaced only when nothing of anyone else's would be lost: each of its entries must be one that the new
 * directory has too, or be named in `replaces`. One writer at a time per directory.
 *
 * Errors: `ERR_WRITE`; what `fill` throws (system errors as `ERR_WRITE`).
 *
 * @example
 * await writeDirectoryAtomic('run/model', async (directory) => {
 *   await writeSafetensors(join(directory, 'model.safetensors'), tensors);
 * });
 */
export async function writeDirectoryAtomic(
  path: string,
  fill: (temporaryDirectory: string) => Promise<void>,
  options: { replaces?: readonly string[] } = {},
): Promise<void> {
  const target = await place(path);
  const temporary = temporaryName(target);
  const { ready, old } = waitingPlaces(target);
  underway.add(temporary);
  try {
    await makeDirectory(dirname(target));
    await recoverDirectory(target);
    await removeLeftovers(dirname(target), basename(target));
    for (const leftover of [ready, old]) await rm(leftover, { recursive: true, force: true });
    await mkdir(temporary);
    await fill(temporary);

    const present = await names(target);
    const ours = new Set([...(await readdir(temporary)), ...(options.replaces ?? [])]);
    const foreign = present?.find((name) => !ours.has(name));
    if (foreign !== undefined) {
      throw new EmoframeError(
        'ERR_WRITE',
        `${path} holds ${foreign}, which would be lost; choose a new or empty directory, or move it away.`,
        { file: path },
      );
    }

    await syncTree(temporary);
    if (present === undefined || present.length === 0) {
      // The system puts a directory in the place of an empty one in one step.
      await rename(temporary, target);
      await sync(dirname(target));
      return;
    }
    await rename(temporary, ready);
    await rename(target, old);
    // A reader that looked just now may have brought it into place already.
    await rename(ready, target).catch(async (error: unknown) => {
      if ((error as { code?: string }).code !== 'ENOENT' || !(await exists(target))) throw error;
    });
    await sync(dirname(target));
    await rm(old, { recursive: true, force: true });
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    // A refusal between the renames leaves a whole directory waiting; bring one back.
    await recoverDirectory(target).catch(() => undefined);
    throw writeError(path, error);
  } finally {
    underway.delete(temporary);
  }
}

/** Whether `path` is a directory, after recovery from a crash. */
export async function directoryExists(path: string): Promise<boolean> {
  await recoverDirectory(path);
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
