// What is being written has a name of its own beside its place, `.NAME.new-RANDOM`. Its writer holds it by a lock, so that others know it
// from what a writer left that is gone; where there are no locks, what has not changed for a day is a leftover.

import { randomBytes } from 'node:crypto';
import { type FileHandle, lstat, mkdir, open, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { largestOf } from '../lists.js';
import { type Held, hold, letGo } from './fileLock.js';

/** The second form is of earlier versions. */
const temporaryPattern = /^\.(.+)\.new-(?:[0-9a-f]{16}|\d+-[0-9a-f]{8})$/;

const leftoverMilliseconds = 24 * 3600 * 1000;

/** What keeps a file or folder from being removed for now: it is in use, perhaps by another machine, or somebody else's. */
const inUse = ['ENOTEMPTY', 'EEXIST', 'EBUSY', 'ETXTBSY', 'EACCES', 'EPERM'];

/** A name beside `path` that is nobody's. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.new-${randomBytes(8).toString('hex')}`);
}

/** Whether a file's name is one that {@link temporaryName} makes. */
export function isTemporaryName(name: string): boolean {
  return temporaryPattern.test(name);
}

/** Something that is being written: a file that is open, or a folder. */
export interface Temporary<Made> {
  path: string;
  made: Made;
  /** Lets others remove it, if it is still there. Never fails. */
  release(): Promise<void>;
}

async function make<Made>(
  target: string,
  kind: 'file' | 'folder',
  create: (path: string) => Promise<Made>,
  close: (made: Made) => Promise<void>,
): Promise<Temporary<Made>> {
  for (;;) {
    const path = temporaryName(target);
    const made = await create(path);
    const held = await hold(path, kind);
    // Others may have seen it before it was held.
    if (held !== 'gone' && held !== 'busy') return { path, made, release: () => letGo(held) };
    await close(made);
  }
}

/** Makes an empty file beside `target`, open for writing. */
export function temporaryFile(target: string): Promise<Temporary<FileHandle>> {
  return make(
    target,
    'file',
    (path) => open(path, 'wx', 0o666),
    (handle) => handle.close(),
  );
}

/** Makes an empty folder beside `target`. */
export function temporaryFolder(target: string): Promise<Temporary<void>> {
  return make(
    target,
    'folder',
    (path) => mkdir(path),
    async () => undefined,
  );
}

/**
 * Removes a file or a folder with all that is in it. What is in use stays, at most under another name than its own: that a file
 * system keeps a name for whoever still reads, as NFS does, stops nobody.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3, retryDelay: 20 });
  } catch (error) {
    if (!inUse.includes((error as { code?: string }).code ?? '')) throw error;
  }
}

/** Removes temporaries in a folder whose writer is gone: all, or those of one name. */
export async function removeLeftovers(directory: string, ofName?: string): Promise<void> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    // A folder that may only be written to shows nothing.
    if (error.code === 'EACCES') return [];
    throw error;
  });
  for (const name of names) {
    const [, replaced] = temporaryPattern.exec(name) ?? [];
    if (replaced === undefined || (ofName !== undefined && replaced !== ofName)) continue;
    await removeIfLeft(join(directory, name));
  }
}

async function removeIfLeft(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined) return;
  const held: Held = await hold(path, stats.isDirectory() ? 'folder' : 'file');
  try {
    if (held === 'busy' || held === 'gone') return;
    if (held === 'unsupported' && Date.now() - (await lastChange(path)) < leftoverMilliseconds) return;
    await removeTree(path);
  } finally {
    await letGo(held);
  }
}

/** When something in it was last changed, in ms as `Date.now()`. */
async function lastChange(path: string): Promise<number> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined) return 0;
  const inside = stats.isDirectory() ? await readdir(path).catch(() => []) : [];
  const times = await Promise.all(inside.map((name) => lastChange(join(path, name))));
  return Math.max(stats.mtimeMs, largestOf(times));
}
