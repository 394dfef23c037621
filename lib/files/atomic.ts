// Files and directories that are complete or absent, whenever the process or the machine stops: everything is written
// under a temporary name beside its place, forced to disk, and then renamed, which the file system does in one step.
//
// A link that has the name of what is written is replaced, and what it leads to stays as it is: whoever put it there, perhaps in the hope
// that a file of yours is overwritten, did not write it. Only where the user named that very path is a link followed, stays a link, and what
// it leads to is replaced (`followLink`).
import { type FileHandle, lstat, readdir, realpath, rename, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { EmoframeError } from '../errors.js';
import { closeAfter } from './close.js';
import { alone } from './fileLock.js';
import { makeFolders } from './folders.js';
import { forceFile, forceFolder, forceTree } from './force.js';
import { systemCode, systemMessage } from './read.js';
import {
  removeLeftovers,
  removeTree,
  type Temporary,
  temporaryFile,
  temporaryFolder,
  temporaryName,
} from './temporaries.js';

export { removeLeftovers, removeTree } from './temporaries.js';

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
  return new EmoframeError('ERR_WRITE', `Could not write ${path}: ${reasons[code] ?? systemMessage(error)}.`, {
    file: path,
    cause: error,
  });
}

/**
 * Makes a directory and the parents that it lacks, so that a power cut does not take them away again: a new name is safe
 * only when the directory that holds it is on disk.
 */
export async function makeDirectory(path: string): Promise<void> {
  const first = await makeFolders(path);
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await forceFolder(dirname(made));
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

/** How a path is understood that is written. */
export interface PlaceOptions {
  /** The user named this very path: what a link there leads to is replaced, and not the link. */
  followLink?: boolean;
}

async function place(path: string, { followLink = false }: PlaceOptions): Promise<string> {
  return followLink ? realpath(path).catch(() => resolve(path)) : resolve(path);
}

/**
 * Writes a file through `write`, which gets a handle opened for writing, so that `path` holds the old bytes or all the
 * new ones, never a part. Missing parent directories are made. Errors: `ERR_WRITE`.
 */
export async function streamFileAtomic(
  path: string,
  write: (handle: FileHandle) => Promise<void>,
  options: PlaceOptions = {},
): Promise<void> {
  const target = await place(path, options);
  let temporary: Temporary<FileHandle> | undefined;
  try {
    await makeDirectory(dirname(target));
    await removeLeftovers(dirname(target), basename(target));
    temporary = await temporaryFile(target);
    const handle = temporary.made;
    await closeAfter(handle, async () => {
      await write(handle);
      await forceFile(handle.sync());
    });
    await rename(temporary.path, target);
    await forceFolder(dirname(target));
  } catch (error) {
    if (temporary !== undefined) await removeTree(temporary.path).catch(() => undefined);
    throw writeError(path, error);
  } finally {
    await temporary?.release();
  }
}

/**
 * Writes a file so that it holds the old bytes or all the new ones, never a part; after a crash too. Errors: `ERR_WRITE`.
 *
 * @example
 * await writeFileAtomic('run/config.json', JSON.stringify(config));
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: PlaceOptions = {},
): Promise<void> {
  await streamFileAtomic(path, (handle) => handle.writeFile(data), options);
}

/** Whether there is anything at a path. */
export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

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
  const target = await place(path, { followLink: true });
  const { ready, old } = waitingPlaces(target);
  // Look at single names: a reader need not be allowed to list, or to write, the parent of a sound directory.
  if (await exists(target)) return;
  for (const whole of [ready, old]) {
    if (!(await exists(whole))) continue;
    try {
      await rename(whole, target);
      await forceFolder(dirname(target));
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
 * What is there is replaced only when nothing of anyone else's would be lost: each of its entries, those in its folders too, must be one
 * that the new directory has, or be named in `replaces` by its path in the directory. Of several writers the last one's stays.
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
  options: PlaceOptions & { replaces?: readonly string[] } = {},
): Promise<void> {
  const target = await place(path, options);
  let temporary: Temporary<void> | undefined;
  try {
    await makeDirectory(dirname(target));
    await removeLeftovers(dirname(target), basename(target));
    await endExchange(target);
    temporary = await temporaryFolder(target);
    const filled = temporary.path;
    await fill(filled);

    const ours = new Set([...(await pathsIn(filled)), ...(options.replaces ?? [])]);
    await refuseForeign(path, target, ours);
    await forceTree(filled);
    if (await takesPlace(filled, target)) await forceFolder(dirname(target));
    else {
      await alone(target, async () => {
        await refuseForeign(path, target, ours);
        await exchange(filled, target);
      });
    }
  } catch (error) {
    if (temporary !== undefined) await removeTree(temporary.path).catch(() => undefined);
    // A refusal between the renames leaves a whole directory waiting; bring one back.
    await recoverDirectory(target).catch(() => undefined);
    throw writeError(path, temporary === undefined ? error : asInPlace(error, temporary.path, target));
  } finally {
    await temporary?.release();
  }
}

/** What failed in a folder that was being filled is named as it was to be: nobody knows the other name, and it is gone. */
function asInPlace(error: unknown, filled: string, target: string): unknown {
  if (!(error instanceof EmoframeError) || error.file?.startsWith(filled) !== true) return error;
  const { code, file, cause } = error;
  const message = error.message.replaceAll(filled, target);
  return new EmoframeError(code, message, { ...error, file: file.replace(filled, target), cause });
}

const kindAt = async (path: string): Promise<'nothing' | 'link' | 'other'> =>
  lstat(path).then(
    (found) => (found.isSymbolicLink() ? 'link' : 'other'),
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return 'nothing';
      throw error;
    },
  );

/** Paths of all that is in a directory, without those that NFS keeps for whoever has a removed file open. */
async function pathsIn(directory: string, within = ''): Promise<string[]> {
  const paths: string[] = [];
  for (const entry of await readdir(join(directory, within), { withFileTypes: true })) {
    if (/^\.nfs[0-9a-f]+$/.test(entry.name)) continue;
    const path = within === '' ? entry.name : `${within}/${entry.name}`;
    paths.push(path);
    if (!entry.isDirectory()) continue;
    for (const inside of await pathsIn(directory, path)) paths.push(inside);
  }
  return paths;
}

/** Another writer may be exchanging it at the moment; before ours is put there, it is looked at again. */
function unlessGone(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT') return [];
  throw error;
}

async function refuseForeign(path: string, target: string, ours: ReadonlySet<string>): Promise<void> {
  // Of a link, only the link goes.
  if ((await kindAt(target)) !== 'other') return;
  for (const found of await pathsIn(target).catch(unlessGone)) {
    if (ours.has(found)) continue;
    throw new EmoframeError(
      'ERR_WRITE',
      `${path} holds ${found}, which would be lost; choose a new or empty directory, or move it away.`,
      { file: path },
    );
  }
}

/** Puts a directory where there is nothing or an empty one, which the system does in one step; false where there is more. */
async function takesPlace(filled: string, target: string): Promise<boolean> {
  if ((await kindAt(target)) === 'link') return false;
  try {
    await rename(filled, target);
    return true;
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST'].includes((error as { code?: string }).code ?? '')) return false;
    throw error;
  }
}

/** A crash in an exchange, or one that failed, leaves directories waiting. */
async function endExchange(target: string): Promise<void> {
  const { ready, old } = waitingPlaces(target);
  if (!(await exists(ready)) && !(await exists(old))) return;
  await alone(target, async () => {
    await recoverDirectory(target);
    for (const leftover of [ready, old]) await clear(leftover, target);
  });
}

/** Removes a directory, or moves it out of the way where something in it is in use. */
async function clear(path: string, target: string): Promise<void> {
  if ((await kindAt(path)) === 'nothing') return;
  await removeTree(path);
  if ((await kindAt(path)) !== 'nothing') await rename(path, temporaryName(target));
}

/** Puts a directory in the place of another, in two steps. */
async function exchange(filled: string, target: string): Promise<void> {
  const { ready, old } = waitingPlaces(target);
  await recoverDirectory(target);
  for (const leftover of [ready, old]) await clear(leftover, target);
  await rename(filled, ready);
  await rename(target, old);
  await rename(ready, target).catch(async (error: NodeJS.ErrnoException) => {
    if (!(await exists(target))) throw error;
    // A reader that looked just now brought it into place already, or another writer put its own there.
    await clear(ready, target);
  });
  await forceFolder(dirname(target));
  await clear(old, target);
}

/** Whether `path` is a directory, after recovery from a crash. */
export async function directoryExists(path: string): Promise<boolean> {
  await recoverDirectory(path);
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
