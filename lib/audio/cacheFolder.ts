// The folder of a cache of decoded audio: what lies in it, how large it is, and how it is made smaller. Anything in it may
// vanish at any time, by another process that makes room.
import { createHash, randomBytes } from 'node:crypto';
import { open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { writeError } from '../files/atomic.js';
import { closeAfter } from '../files/close.js';
import { makeFolders } from '../files/folders.js';
import { isLink } from '../files/links.js';
import { readText, systemMessage, unlessAbsent } from '../files/read.js';
import { type Shape, strictOptions } from '../issues.js';

/** Where decoded audio is kept between runs. */
export interface AudioCacheOptions {
  /** A folder of its own; it is made. */
  dir: string;
  /** The most that it may take, about. Default: 50 GiB. */
  bytes?: number;
}

/** @internal */
export const audioCacheSchema = strictOptions({
  dir: z.string().min(1),
  bytes: z.number().positive().exactOptional(),
} satisfies Shape<AudioCacheOptions>);

export const DEFAULT_CACHE_BYTES = 50 * 2 ** 30;

/** What a cache holds. */
export interface AudioCacheContents {
  entries: number;
  bytes: number;
}

const tagName = 'CACHEDIR.TAG';
/** Backup programs know the first line, and leave the folder out (bford.info/cachedir). */
const signature = 'Signature: 8a477f597d28d172789f06886806bc55\n';
const tag = `${signature}# Audio that emoframe has decoded. Files here can be deleted at any time.
`;
const tagTemporary = /^CACHEDIR\.TAG\.new-[0-9a-f]{16}$/;
const parts = { samples: 'samples', files: 'files' } as const;
const entryName = /^[0-9a-f]{64}$/;
const temporaryName = /^[0-9a-f]{64}\.new-[0-9a-f]{16}$/;
/** A writer that is older than this is gone. */
const LEFTOVER_MILLISECONDS = 24 * 3600 * 1000;
/** What is left after making room, so that room is not made at every write. */
const LEFT_SHARE = 0.9;

/**
 * Makes a folder a cache, or finds that it is one.
 *
 * @throws `ERR_AUDIO_CACHE` for a folder that holds something else, or cannot be made
 */
export async function openCacheFolder(dir: string): Promise<void> {
  const folder = resolve(dir);
  try {
    await makeFolders(folder);
    if (await isCacheFolder(folder)) return await refuseLinks(folder);
    const names = await readdir(folder);
    // Another process may be at the same: its tag may be on its way, or there by now.
    const foreign = names.find((name) => !tagTemporary.test(name));
    if (foreign !== undefined && !(await isCacheFolder(folder))) {
      throw cacheError(
        `${folder} cannot be used as the audio cache: it holds something else (${foreign}). Choose another folder.`,
        folder,
      );
    }
    await putFile(join(folder, tagName), [Buffer.from(tag)]);
  } catch (error) {
    if (error instanceof EmoframeError) throw error;
    throw cacheError(
      `${folder} cannot be used as the audio cache: ${systemMessage(error)}. Choose another folder.`,
      folder,
      error,
    );
  }
}

/** What entries are written to and removed from must be the cache's own. */
async function refuseLinks(folder: string): Promise<void> {
  for (const part of Object.values(parts)) {
    if (!(await isLink(join(folder, part)))) continue;
    throw cacheError(
      `${folder} cannot be used as the audio cache: its ${part} is a link, and what it leads to may be somebody else's. Remove the link, or choose another folder.`,
      folder,
    );
  }
}

async function isCacheFolder(folder: string): Promise<boolean> {
  const file = join(folder, tagName);
  const found = await unlessAbsent(file, readText(file, 4096));
  return found?.startsWith(signature) === true && found.includes('emoframe');
}

function cacheError(message: string, folder: string, cause?: unknown): EmoframeError {
  return new EmoframeError('ERR_AUDIO_CACHE', message, { file: folder, cause });
}

/** Where the samples under a key lie. */
export function samplesPath(dir: string, key: string): string {
  return join(dir, parts.samples, key.slice(0, 2), key);
}

/** Where it is remembered what a file holds. */
export function filePath(dir: string, file: string): string {
  const name = createHash('sha256').update(resolve(file)).digest('hex');
  return join(dir, parts.files, name.slice(0, 2), name);
}

/**
 * Writes a file that is whole or not there while processes run. It is not forced to disk: what a power cut leaves is
 * recognised by whoever reads it.
 */
export async function putFile(path: string, chunks: readonly Uint8Array[]): Promise<void> {
  const temporary = `${path}.new-${randomBytes(8).toString('hex')}`;
  await makeFolders(dirname(path));
  try {
    const handle = await open(temporary, 'wx');
    await closeAfter(handle, async () => {
      for (const chunk of chunks) await handle.appendFile(chunk);
    });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/**
 * What a cache holds.
 *
 * @throws `ERR_AUDIO_CACHE` for a folder that is no cache
 * @example
 * const { entries, bytes } = await describeAudioCache('cache');
 */
export async function describeAudioCache(dir: string): Promise<AudioCacheContents> {
  await checkCacheFolder(dir);
  return measureCache(dir);
}

/** What a folder that is a cache holds. */
export async function measureCache(dir: string): Promise<AudioCacheContents> {
  let [entries, bytes] = [0, 0];
  for await (const entry of entriesOf(dir, parts.samples)) {
    entries++;
    bytes += entry.bytes;
  }
  return { entries, bytes };
}

/**
 * Makes a cache smaller: what was not used for longest goes first.
 *
 * @param bytes the most that may be left; 0 clears it
 * @returns what is left
 * @throws `ERR_AUDIO_CACHE` for a folder that is no cache; `ERR_READ`, `ERR_WRITE`
 * @example
 * await trimAudioCache('cache', 10 * 2 ** 30);
 */
export async function trimAudioCache(dir: string, bytes: number): Promise<AudioCacheContents> {
  await checkCacheFolder(dir);
  if (!(bytes >= 0)) {
    throw new EmoframeError('ERR_ARGUMENT', `Expected 0 or a positive number for bytes but received ${bytes}.`);
  }
  return makeRoom(dir, bytes, bytes);
}

/** When there are more than `bytes`, removes what was used least recently until 90 % of them are left, or `left`. */
export async function makeRoom(dir: string, bytes: number, left = LEFT_SHARE * bytes): Promise<AudioCacheContents> {
  const entries: Entry[] = [];
  let total = 0;
  for await (const entry of entriesOf(dir, parts.samples)) {
    entries.push(entry);
    total += entry.bytes;
  }
  // Where nothing is kept, nothing needs to be remembered of files either.
  if (total <= bytes && entries.length > 0) return { entries: entries.length, bytes: total };
  entries.sort((a, b) => a.usedAt - b.usedAt);
  let removed = 0;
  for (const entry of entries) {
    if (total <= left) break;
    await remove(entry.path);
    total -= entry.bytes;
    removed++;
  }
  // What is remembered of files as old as that leads nowhere.
  const oldest = entries[removed]?.usedAt ?? Number.POSITIVE_INFINITY;
  for await (const { path, usedAt } of entriesOf(dir, parts.files)) {
    if (usedAt < oldest) await remove(path);
  }
  return { entries: entries.length - removed, bytes: total };
}

const namesIn = async (folder: string): Promise<string[]> => (await unlessAbsent(folder, readdir(folder))) ?? [];

async function remove(path: string): Promise<void> {
  await rm(path, { force: true }).catch((error: unknown) => {
    throw writeError(path, error);
  });
}

async function checkCacheFolder(dir: string): Promise<void> {
  if (!(await isCacheFolder(resolve(dir))))
    throw cacheError(`${resolve(dir)} is not an audio cache of emoframe. Give the folder of one.`, resolve(dir));
}

interface Entry {
  path: string;
  bytes: number;
  /** In ms, as `Date.now()`. */
  usedAt: number;
}

/** The entries of one part of a cache; what broken-off writers left is removed on the way. */
async function* entriesOf(dir: string, part: string): AsyncGenerator<Entry> {
  for (const shard of (await namesIn(join(dir, part))).filter((name) => /^[0-9a-f]{2}$/.test(name))) {
    for (const name of await namesIn(join(dir, part, shard))) {
      const path = join(dir, part, shard, name);
      const found = await unlessAbsent(path, stat(path));
      if (found === undefined) continue;
      if (entryName.test(name)) yield { path, bytes: found.size, usedAt: found.mtimeMs };
      else if (temporaryName.test(name) && Date.now() - found.mtimeMs > LEFTOVER_MILLISECONDS) {
        await remove(path);
      }
    }
  }
}
