// One file into the cache: an earlier attempt is resumed, and the file takes its place only when all of it is on disk and has the
// hash that the Hub lists. Two processes may download one file at once: both write the same bytes to the same places.
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { makeDirectory, writeError, writeFully } from '../files/atomic.js';
import { readParts } from '../files/read.js';
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

/** The file's own hash, of the kind that `like` is: SHA-256, or git's SHA-1 of a blob. */
async function hashOf(path: string, size: number, like: string): Promise<string> {
  const hash = like.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  for await (const part of readParts(path)) hash.update(part);
  return hash.digest('hex');
}

/** Appends what is missing of a file. Errors of the disk as `ERR_WRITE`; of the network as they come. */
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
  const handle = await open(partial, constants.O_WRONLY | constants.O_CREAT, 0o666).catch(refuseToWrite);
  try {
    let done = (await handle.stat()).size;
    options.onBytes?.(done);
    if (done >= file.size) return;
    for await (const part of await client.open(file.path, commit, done)) {
      throwIfAborted(options.signal);
      // A server that does not stop at the end would fill the disk.
      if (done + part.length > file.size) throw new Error(`it sent more than the ${file.size} bytes that it lists`);
      await writeFully(handle, part, done).catch(refuseToWrite);
      done += part.length;
      options.onBytes?.(done);
    }
    await handle.sync().catch(refuseToWrite);
  } finally {
    await handle.close();
  }
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
  if ((await sizeOf(blob)) === file.size) {
    options.onBytes?.(file.size);
    return;
  }
  await makeDirectory(dirname(blob)).catch((error: unknown) => {
    throw writeError(dirname(blob), error);
  });
  const partial = `${blob}.incomplete`;
  for (const last of [false, true]) {
    await complete(client, file, commit, partial, options);
    if ((await sizeOf(partial)) === file.size && (await hashOf(partial, file.size, file.hash)) === file.hash) break;
    // An earlier attempt may have left another file's bytes, or damaged ones: once more, from the beginning.
    await rm(partial, { force: true });
    if (!last) continue;
    throw new EmoframeError(
      'ERR_DOWNLOAD',
      `${file.path} of ${client.name} arrived twice with other bytes than the Hub lists (${file.size} bytes, hash ${file.hash}); a proxy or mirror may have changed it.`,
      { file: blob },
    );
  }
  try {
    await rename(partial, blob);
  } catch (error) {
    // Another process may have been quicker with the same file.
    if ((await sizeOf(blob)) !== file.size) throw writeError(blob, error);
  }
}
