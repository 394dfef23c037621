// Locks that the kernel keeps with an open file or folder: they end with the process that holds them, however it ends, and hold between
// threads, processes and containers alike, whatever their process ids. Some file systems have none.
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { EmoframeError } from '../errors.js';
import { binding } from '../model/binding.js';

/** `busy`: another has it. */
export type Locking = 'taken' | 'busy' | 'unsupported';

/** Takes the lock of what is open, without waiting. Without the addon there are no locks. */
export function lockDescriptor(descriptor: number): Locking {
  try {
    return binding().lockFile(descriptor);
  } catch {
    return 'unsupported';
  }
}

/** Something in a folder that is locked until it is closed; or why it is not: `gone` when its name is no longer there. */
export type Held = FileHandle | Exclude<Locking, 'taken'> | 'gone';

const isGone = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );

/** Locks a file or folder that is there, and not what a link leads to. */
export async function hold(path: string, kind: 'file' | 'folder'): Promise<Held> {
  // Over a network a lock needs a file that may be written.
  const access = kind === 'file' ? constants.O_RDWR : constants.O_RDONLY | constants.O_DIRECTORY;
  let handle: FileHandle;
  try {
    handle = await open(path, access | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    return (error as { code?: string }).code === 'ENOENT' ? 'gone' : 'unsupported';
  }
  const locking = lockDescriptor(handle.fd);
  // Whoever removes it has the lock while doing so.
  if (locking === 'taken' && !(await isGone(path))) return handle;
  await letGo(handle);
  return locking === 'taken' ? 'gone' : locking;
}

/** Ends a lock; nothing was written through it, so nothing can be lost. */
export async function letGo(held: Held): Promise<void> {
  if (typeof held !== 'string') await held.close().catch(() => undefined);
}

const pauseMilliseconds = 10;
const patienceMilliseconds = 60_000;

/**
 * Does `work` while nobody else does the same for `path`, in other threads and processes too, where the file system has locks.
 *
 * @throws EmoframeError `ERR_WRITE` when another does not come to its end within a minute; what `work` throws
 */
export async function alone<Result>(path: string, work: () => Promise<Result>): Promise<Result> {
  const file = join(dirname(path), `.${basename(path)}.lock`);
  const lock = await wait(path, file);
  try {
    return await work();
  } finally {
    // Before it is let go of, so that whoever has opened it sees that it is no longer the one of that name.
    await rm(file, { force: true }).catch(() => undefined);
    await letGo(lock);
  }
}

function wait(path: string, file: string): Promise<Held> {
  const end = Date.now() + patienceMilliseconds;
  return takeLock(file, async () => {
    if (Date.now() < end) return pause(pauseMilliseconds);
    throw new EmoframeError(
      'ERR_WRITE',
      `Could not write ${path}: another process has been writing it for a minute (${file} is locked); wait for it, or stop it.`,
      { file: path },
    );
  });
}

/**
 * Makes a file that is a lock, unless it is there, and locks it. `whileBusy` is called again and again while another has it, and waits, or
 * gives up by throwing.
 *
 * @throws what `whileBusy` throws; the system's errors
 */
export async function takeLock(file: string, whileBusy: () => Promise<void>): Promise<FileHandle | 'unsupported'> {
  for (;;) {
    const held = await tryLock(file);
    if (held !== 'busy') return held;
    await whileBusy();
  }
}

/**
 * The same without waiting. Whoever has it removes it before letting go, so one that
 * has lost its name meanwhile is `busy` too: another's is there by now.
 *
 * @throws the system's errors
 */
async function tryLock(file: string): Promise<FileHandle | 'busy' | 'unsupported'> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(file, flags, 0o666);
  const locking = lockDescriptor(handle.fd);
  let ours = false;
  try {
    ours = locking === 'taken' && (await isNamed(handle, file));
  } finally {
    if (!ours) await letGo(handle);
  }
  if (ours) return handle;
  return locking === 'unsupported' ? locking : 'busy';
}

/** Whether what is open is still what has the name. */
async function isNamed(handle: FileHandle, path: string): Promise<boolean> {
  const [open, named] = [await handle.stat(), await lstat(path).catch(() => undefined)];
  return open.ino === named?.ino && open.dev === named.dev;
}
