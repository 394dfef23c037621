// The one way in which files are opened for reading: whoever names a file may name a pipe, a device or a folder too, and what
// waits for a writer, or for a server that is gone, must not wait forever.
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';

/** The loop must have been free so often, so many milliseconds apart: time in which it was busy is not the file's. */
const patience = 12;
const pauseMilliseconds = 5000;

/** A refusal of our own that is told as those of the system are. */
function refusal(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

/**
 * What the system answers within a minute. Nothing ends a call that waits for a disk or a server: it stays with one of the process's
 * few threads for such calls, and `late` gets what it gives after all.
 *
 * @throws what `call` does; an error with the code `ETIMEDOUT`
 */
export async function answered<Result>(call: Promise<Result>, late?: (result: Result) => unknown): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const stalled = new Promise<never>((_, reject) => {
    let left = patience;
    timer = setInterval(() => {
      if (--left > 0) return;
      call.then(late, () => undefined);
      const seconds = (patience * pauseMilliseconds) / 1000;
      reject(
        refusal(
          'ETIMEDOUT',
          `the disk or server did not answer for ${seconds} seconds; see whether its mount is alive`,
        ),
      );
    }, pauseMilliseconds);
  });
  try {
    return await Promise.race([call, stalled]);
  } finally {
    clearInterval(timer);
  }
}

/** What there is in place of a file, or nothing for a file. */
export function unlikeFile(stats: Stats): string | undefined {
  if (stats.isFile()) return undefined;
  if (stats.isDirectory()) return 'a directory';
  if (stats.isFIFO()) return 'a pipe (FIFO)';
  if (stats.isSocket()) return 'a socket';
  return 'a device';
}

function requireFile(stats: Stats): Stats {
  const kind = unlikeFile(stats);
  if (kind === undefined) return stats;
  const advice = stats.isDirectory() ? 'name a file in it' : 'copy what it gives into a file, and name that';
  throw refusal('EINVAL', `it is ${kind}, not a regular file; ${advice}`);
}

/**
 * Opens a regular file, or what a link to one leads to. Whatever else has the name is refused without a wait.
 *
 * @returns `stats`: of the file that is open. More than its size at that time is not to be read of a file that may grow, or that has
 *   no end, as some of /proc.
 * @throws the system's errors, and of their form one with the code `EINVAL` for what is no regular file, and `ETIMEDOUT`
 */
export async function openRegular(path: string): Promise<{ handle: FileHandle; stats: Stats }> {
  // To open a device may do something to it, and a writer may be waiting for a pipe to be opened.
  requireFile(await answered(stat(path)));
  // What has taken the name since is opened without a wait.
  const opening = open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const handle = await answered(opening, (opened) => opened.close());
  try {
    return { handle, stats: requireFile(await answered(handle.stat())) };
  } catch (error) {
    handle.close().catch(() => undefined);
    throw error;
  }
}
