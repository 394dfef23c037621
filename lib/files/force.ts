// Forcing to disk what a power cut would take. A file system that has no way to is no failure; a disk that fails is.
import { fsyncSync } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { closeAfter } from './close.js';

/** How file systems say that they cannot: CIFS, FUSE, drivers of other systems' formats. */
const unsupported = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'ENOTTY'];
/** Of a folder: that it cannot be opened for it either. */
const unsupportedOfFolders = [...unsupported, 'EBADF', 'EISDIR', 'EACCES', 'EPERM'];

async function unless(codes: readonly string[], work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!codes.includes((error as { code?: string } | null)?.code ?? '')) throw error;
  }
}

/** Forces an open file's bytes to disk, where the file system can. */
export function forceFile(forced: Promise<void>): Promise<void> {
  return unless(unsupported, forced);
}

/** The same without waiting elsewhere, for a few bytes. */
export function forceFileNow(descriptor: number): void {
  try {
    fsyncSync(descriptor);
  } catch (error) {
    if (!unsupported.includes((error as { code?: string }).code ?? '')) throw error;
  }
}

async function forcePath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  await closeAfter(handle, () => handle.sync());
}

/** Forces a folder's list of names to disk, where the file system can. */
export function forceFolder(path: string): Promise<void> {
  return unless(unsupportedOfFolders, forcePath(path));
}

/** Forces a folder with all that is in it to disk. */
export async function forceTree(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await forceTree(path);
    else if (entry.isFile()) await forceFile(forcePath(path));
  }
  await forceFolder(directory);
}
