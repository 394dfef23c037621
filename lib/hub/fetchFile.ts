// One file into the cache: an earlier attempt is resumed, and the file takes its place only when all of it is on disk and has the
// hash that the Hub lists. Of several that want one file at once, one downloads it, and the others wait for it.
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { writeError, writeFully } from '../files/atomic.js';
import { closeAfter } from '../files/close.js';
import { forceFile, forceFolder } from '../files/force.js';
import { orClose } from '../files/read.js';
import { hashOf, isSound, makeOwnFolder, noteSound, withBlobLock } from './blobs.js';
import type { HubClient, HubFile } from './client.js';

export interface FetchOptions {
  signal?: AbortSignal;
  /** Called with the bytes of the file that are on disk. */
  onBytes?: (bytes: number) => void;
  /** Milliseconds before each further attempt when nothing arrives; an attempt that brings bytes begins the list anew. */
  pauses?: readonly number[];
}

const usualPauses = [250, 1000, 4000];

async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ size }) => size,
    () => undefined,
  );
}

/** What has arrived of a file, opened for more. A link or a pipe of that name is removed: where it leads is not for us to write. */
async function openPartial(partial: string): Promise<FileHandle> {
  // A pipe is not waited for: it either says that nobody reads it (ENXIO), or is opened.
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const opened = () => open(partial, flags, 0o666);
  const handle = await opened().catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ELOOP' && error.code !== 'ENXIO') throw error;
    return undefined;
  });
  if (handle !== undefined && (await orClose(handle, () => handle.stat())).isFile()) return handle;
  await handle?.close();
  await rm(partial);
  return opened();
}

/** Appends what is missing of a file, and forces all of it to disk. Errors of the disk as `ERR_WRITE`; of the network as they come. */
async function append(
  client: HubClient,
  file: HubFile,
  commit: string,
  partial: string,
  options: FetchOptions,
): Promise<void> {
  const refuseToWrite = (error: unknown): never => {
    throw writeError(partial, error);
  };
  const handle = await openPartial(partial).catch(refuseToWrite);
  await closeAfter(handle, async () => {
    let done = (await handle.stat()).size;
    options.onBytes?.(done);
    const missing = done < file.size ? await client.open(file.path, commit, done) : [];
    for await (const part of missing) {
      throwIfAborted(options.signal);
      // A server that does not stop at the end would fill the disk.
      if (done + part.length > file.size) throw new Error(`it sent more than the ${file.size} bytes that it lists`);
      await writeFully(handle, part, done).catch(refuseToWrite);
      done += part.length;
      options.onBytes?.(done);
    }
    await forceFile(handle.sync()).catch(refuseToWrite);
  });
}

/** Attempts until the file has its size. */
async function complete(
  client: HubClient,
  file: HubFile,
  commit: string,
  partial: string,
  options: FetchOptions,
): Promise<void> {
  const { signal, pauses = usualPauses } = options;
  for (let attempt = 0; ; attempt++) {
    const before = (await sizeOf(partial)) ?? 0;
    let failure: unknown = new Error('the connection closed before the whole file had arrived');
    try {
      await append(client, file, commit, partial, options);
    } catch (error) {
      throwIfAborted(signal);
      if (error instanceof EmoframeError) throw error;
      failure = error;
    }
    const refusal = client.refusal(failure);
    // Asking again would bring the same refusal.
    if (refusal instanceof EmoframeError && refusal.code === 'ERR_HUB') throw refusal;
    const after = (await sizeOf(partial)) ?? 0;
    if (after >= file.size) return;
    if (after > before) attempt = 0;
    const wait = pauses[attempt];
    if (wait === undefined) throw refusal;
    await pause(wait, undefined, signal === undefined ? {} : { signal }).catch(() => throwIfAborted(signal));
  }
}

/**
 * Downloads a file of the Hub to `blob`, unless it is there.
 *
 * @throws EmoframeError `ERR_DOWNLOAD` (the network fails, with what has arrived kept for the next time; or what arrived is not what
 *   the Hub lists), `ERR_HUB`, `ERR_WRITE`, `ERR_ABORTED`
 */
export async function fetchFile(
  client: HubClient,
  file: HubFile,
  commit: string,
  blob: string,
  options: FetchOptions = {},
): Promise<void> {
  const { signal } = options;
  const isThere = async () => {
    if ((await sizeOf(blob)) !== file.size || !(await isSound(blob, signal))) return false;
    options.onBytes?.(file.size);
    return true;
  };
  if (await isThere()) return;
  const blobs = dirname(blob);
  try {
    await makeOwnFolder(dirname(dirname(blobs)), blobs);
    await withBlobLock(blob, signal, async (locked) => {
      // Another may have brought it while we waited.
      if (await isThere()) return;
      // Without locks nobody else may write to what is ours.
      const partial = `${blob}.${locked ? '' : `${randomBytes(8).toString('hex')}.`}incomplete`;
      try {
        await bring(client, file, commit, blob, partial, options);
      } finally {
        if (!locked) await rm(partial, { force: true }).catch(() => undefined);
      }
    });
  } catch (error) {
    throw writeError(blob, error);
  }
}

/** Downloads a file, and puts it in its place. */
async function bring(
  client: HubClient,
  file: HubFile,
  commit: string,
  blob: string,
  partial: string,
  options: FetchOptions,
): Promise<void> {
  for (const last of [false, true]) {
    await complete(client, file, commit, partial, options);
    if ((await sizeOf(partial)) === file.size && (await hashOf(partial, file.hash, options.signal)) === file.hash)
      break;
    // An earlier attempt may have left another file's bytes, or damaged ones: once more, from the beginning.
    await rm(partial, { force: true });
    if (!last) continue;
    throw new EmoframeError(
      'ERR_DOWNLOAD',
      `${file.path} of ${client.name} arrived twice with other bytes than the Hub lists (${file.size} bytes, hash ${file.hash}); a proxy or mirror may have changed it.`,
      { file: blob },
    );
  }
  await rename(partial, blob);
  await forceFolder(dirname(blob));
  // Its bytes have just been read.
  await noteSound(blob);
}
