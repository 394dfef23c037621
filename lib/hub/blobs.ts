// What keeps the blobs of the Hub's cache whole: one download of a blob at a time, whoever makes it, and a look at the bytes of each
// before it is used, as a power cut or a failing disk leaves some of the right length that are not what was written.
import { createHash } from 'node:crypto';
import { realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { makeDirectory } from '../files/atomic.js';
import { digestOf } from '../files/checksum.js';
import { letGo, takeLock } from '../files/fileLock.js';
import { isLink } from '../files/links.js';
import { OpenFile, readError, readText, unreadable } from '../files/read.js';
import { temporaryName } from '../files/temporaries.js';

/** SHA-256 of a large file; git's own SHA-1 of a small one. */
const hashPattern = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** Whether a text is the hash of a file as the Hub has it, and so the name of a blob. */
export function isHash(text: string): boolean {
  return hashPattern.test(text);
}

/** The folder of a model, and that of the whole cache, in which a blob lies. */
const placesOf = (blob: string) => ({ folder: dirname(dirname(blob)), cache: dirname(dirname(dirname(blob))) });

/**
 * Makes a folder below `cache`. One that a link leads to is refused: whoever put the link there would choose what is overwritten. The cache
 * itself may be a link.
 *
 * @throws EmoframeError `ERR_WRITE`; errors of the system
 */
export async function makeOwnFolder(cache: string, folder: string): Promise<void> {
  let at = cache;
  for (const name of relative(cache, folder).split(sep)) {
    at = join(at, name);
    if (!(await isLink(at))) continue;
    throw new EmoframeError(
      'ERR_WRITE',
      `Could not write to ${folder}: ${at} is a link, and downloads go nowhere but into the cache. Remove it, or set HF_HUB_CACHE to another folder.`,
      { file: at },
    );
  }
  await makeDirectory(folder);
}

const pauseMilliseconds = 50;

/**
 * Does `work` while no other call, thread or process does the same for a blob; the Hub's own tools use the same locks. They are the
 * kernel's, and end with the process that holds one.
 *
 * @param work gets whether there is a lock: some file systems have none
 */
export async function withBlobLock<Result>(
  blob: string,
  signal: AbortSignal | undefined,
  work: (locked: boolean) => Promise<Result>,
): Promise<Result> {
  const { folder, cache } = placesOf(blob);
  const locks = join(cache, '.locks', basename(folder));
  await makeOwnFolder(cache, locks);
  const file = join(locks, `${basename(blob)}.lock`);
  throwIfAborted(signal);
  const held = await takeLock(file, async () => {
    await pause(pauseMilliseconds);
    throwIfAborted(signal);
  });
  if (held === 'unsupported') return work(false);
  try {
    return await work(true);
  } finally {
    // Before it is let go of: who opens it until then sees that it no longer has its name.
    await rm(file, { force: true }).catch(() => undefined);
    await letGo(held);
  }
}

/** The hash of a file, of the kind that `like` is. Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`, `ERR_ABORTED`. */
export async function hashOf(path: string, like: string, signal?: AbortSignal): Promise<string> {
  const file = await OpenFile.open(path, unreadable(path));
  try {
    const hash = like.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${file.size}\0`);
    return await digestOf(file, hash, signal);
  } finally {
    await file.close();
  }
}

/** What changes when somebody writes to a file, by whatever way, or puts another in its place. */
async function stateOf(path: string): Promise<string> {
  const { size, mtimeNs, ctimeNs, ino } = await stat(path, { bigint: true });
  return `${size} ${mtimeNs} ${ctimeNs} ${ino}\n`;
}

/** Where it is noted in which state a blob had the bytes of its hash: to hash a gigabyte takes seconds. */
const markOf = (blob: string) => join(placesOf(blob).folder, '.verified', basename(blob));

/** Of this process, also for caches that it may not write to. */
const verified = new Map<string, string>();

/**
 * Whether a blob has the bytes of its name. They are read only when it was not known of this blob as it is now.
 *
 * @throws EmoframeError `ERR_READ`, `ERR_ABORTED`
 */
export async function isSound(blob: string, signal?: AbortSignal): Promise<boolean> {
  try {
    const state = await stateOf(blob);
    if (verified.get(blob) === state) return true;
    const known = (await readText(markOf(blob), 200).catch(() => '')) === state;
    if (!known && (await hashOf(blob, basename(blob), signal)) !== basename(blob)) return false;
    // Not what was written to meanwhile.
    if ((await stateOf(blob)) !== state) return false;
    verified.set(blob, state);
    if (!known) await note(blob, state);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw readError(blob, error);
  }
}

/** Notes that a blob has the bytes of its name, by one who has just looked at them. */
export async function noteSound(blob: string): Promise<void> {
  const state = await stateOf(blob);
  verified.set(blob, state);
  await note(blob, state);
}

async function note(blob: string, state: string): Promise<void> {
  const mark = markOf(blob);
  const temporary = temporaryName(mark);
  try {
    await makeOwnFolder(placesOf(blob).cache, dirname(mark));
    await writeFile(temporary, state, { flag: 'wx' });
    await rename(temporary, mark);
  } catch {
    // It is looked at again next time.
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** The blob that a file of a snapshot is a link to; undefined: it is a file of its own, as on systems without links. */
export async function blobOf(file: string): Promise<string | undefined> {
  const real = await realpath(file);
  return isHash(basename(real)) && dirname(real).endsWith(`${sep}blobs`) ? real : undefined;
}
