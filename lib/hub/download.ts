// A model of the Hub by its name: downloaded to the cache file by file, and from then on a directory like any other.

import { z } from 'zod';
import { configFile, findLayout, preprocessorFile, processorFile, safetensorsFile } from '../checkpoint/layouts.js';
import { isIndex, readShardIndex } from '../checkpoint/weights.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { statsOf, unlessAbsent } from '../files/read.js';
import { given } from '../given.js';
import { abortSignal, callback, parseOptions, type Shape, strictOptions } from '../issues.js';
import { CachedModel, isCommit } from './cache.js';
import { HubClient, type HubFile, type HubModel } from './client.js';
import { fetchFile } from './fetchFile.js';
import { type HubOptions, type HubSettings, readSettings } from './settings.js';

/** How far a download is. */
export interface DownloadProgress {
  /** The model. */
  name: string;
  /** The file that is coming. */
  file: string;
  /** Bytes of all files of the model that are on disk, and of all that it needs as far as is known. */
  doneBytes: number;
  totalBytes: number;
}

/** What {@link downloadModel} takes. What is absent comes from the environment, as for the Hub's own tools. */
export interface DownloadOptions extends HubOptions {
  onProgress?: (progress: DownloadProgress) => void;
  /** Called with a message when the Hub cannot be reached and the copy in the cache is used. */
  onWarning?: (message: string) => void;
  signal?: AbortSignal;
}

/** @internal */
export const downloadShape = {
  revision: z.string().min(1).exactOptional(),
  token: z.string().min(1).exactOptional(),
  cacheDir: z.string().min(1).exactOptional(),
  endpoint: z.string().min(1).exactOptional(),
  offline: z.boolean().exactOptional(),
  onProgress: callback<(progress: DownloadProgress) => void>().exactOptional(),
  onWarning: callback<(message: string) => void>().exactOptional(),
  signal: abortSignal.exactOptional(),
} satisfies Shape<DownloadOptions>;
const optionsSchema = strictOptions(downloadShape);

const namePattern = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;

/** Whether this may be a model of the Hub: `OWNER/NAME`. */
export function isModelName(name: string): boolean {
  return namePattern.test(name) && !name.includes('..') && !name.includes('--');
}

/** Downloads the files of one model to the cache, one after another. */
class Download {
  #doneBefore = 0;
  #total = 0;

  constructor(
    private readonly client: HubClient,
    private readonly cached: CachedModel,
    private readonly model: HubModel,
    private readonly options: DownloadOptions,
  ) {}

  #find(path: string): HubFile | undefined {
    return this.model.files.find((file) => file.path === path);
  }

  /** The weights come last, so that a snapshot that has them is complete. */
  async run(): Promise<string> {
    const { name, commit, files } = this.model;
    const found = await findLayout((path) => this.#find(path) !== undefined);
    if (found === undefined) {
      const held = files.slice(0, 8).map(({ path }) => path);
      const lacks = this.#find(configFile) === undefined ? configFile : safetensorsFile;
      throw new EmoframeError(
        'ERR_HUB',
        `${name} on the Hub is no model of transformers, speechbrain or emotion2vec: it has no ${lacks}, but ${held.join(', ') || 'nothing'}. Download a checkpoint of another kind by hand and give its path.`,
      );
    }
    const { needs, also } = found.layout;
    const weights = this.#find(found.weights)!;
    const first = [...needs, ...also].map((path) => this.#find(path)).filter((file) => file !== undefined);
    this.#total = [...first, weights].reduce((sum, { size }) => sum + size, 0);
    for (const file of first) await this.#fetch(file);
    for (const file of [preprocessorFile, processorFile]) {
      if (this.#find(file) === undefined) await this.cached.noteAbsent(commit, file);
    }
    if (isIndex(weights.path)) await this.#fetchParts(weights);
    await this.#fetch(weights);
    return this.cached.snapshot(commit);
  }

  /** The files that an index names, before the index itself takes its place. */
  async #fetchParts(index: HubFile): Promise<void> {
    const blob = this.cached.blob(index.hash);
    await fetchFile(this.client, index, this.model.commit, blob, given({ signal: this.options.signal }));
    const parts = [...new Set((await readShardIndex(blob)).values())].map((path) => {
      const part = this.#find(path);
      if (part !== undefined) return part;
      throw new EmoframeError('ERR_HUB', `${this.model.name} on the Hub lacks ${path}, which ${index.path} names.`);
    });
    this.#total += parts.reduce((sum, { size }) => sum + size, 0);
    for (const part of parts) await this.#fetch(part);
  }

  async #fetch(file: HubFile): Promise<void> {
    const { name, commit } = this.model;
    const { signal } = this.options;
    throwIfAborted(signal);
    await fetchFile(this.client, file, commit, this.cached.blob(file.hash), {
      ...given({ signal }),
      onBytes: (bytes) =>
        this.options.onProgress?.({
          name,
          file: file.path,
          doneBytes: this.#doneBefore + bytes,
          totalBytes: this.#total,
        }),
    });
    this.#doneBefore += file.size;
    await this.cached.link(file.hash, commit, file.path);
  }
}

/** The copy in the cache, for when the network may not be used. */
async function fromCache(cached: CachedModel, settings: HubSettings, options: DownloadOptions): Promise<string> {
  const found = await cached.find(settings.revision, options.signal);
  if (found?.damaged !== undefined) {
    throw new EmoframeError(
      'ERR_HUB',
      `${found.damaged} does not have the bytes that it was downloaded with, and cannot be downloaded again offline: run once without offline mode (HF_HUB_OFFLINE), which mends it.`,
      { file: found.damaged },
    );
  }
  if (found === undefined) {
    throw new EmoframeError(
      'ERR_HUB',
      `${cached.name} (revision ${settings.revision}) is not in the cache ${settings.cacheDir}, or is incomplete there, and cannot be downloaded offline.`,
    );
  }
  const { directory } = found;
  if (!(await cached.knowsNormalization(directory))) {
    options.onWarning?.(
      `The cache has no ${preprocessorFile} of ${cached.name}; audio is normalised, as in transformers without that file.`,
    );
  }
  return directory;
}

/**
 * Downloads a model of the Hugging Face Hub to the cache that the Hub's tools share, and returns its directory there. Only files that
 * are missing are downloaded; each takes its place when it is complete and has the size and hash that the Hub lists. An interrupted
 * download is resumed. The environment is respected as by the Hub's own tools: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`,
 * `HF_HUB_CACHE`, `HF_HUB_OFFLINE`.
 *
 * When the Hub cannot be reached, a copy of the revision in the cache is used, and `onWarning` gets a message. A revision that is a whole commit
 * hash and is in the cache needs no network.
 *
 * @param name `OWNER/NAME`
 * @throws EmoframeError `ERR_HUB` (no such model or revision, no access, no model of transformers, or offline and not in the cache),
 *   `ERR_DOWNLOAD` (the network fails, or what came is not what the Hub lists), `ERR_WRITE`, `ERR_ARGUMENT`, `ERR_ABORTED`
 * @example
 * const directory = await downloadModel('facebook/hubert-base-ls960', {
 *   onProgress: ({ file, doneBytes, totalBytes }) => console.log(file, doneBytes / totalBytes),
 * });
 * await using encoder = await Encoder.load(directory);
 */
export async function downloadModel(name: string, options: DownloadOptions = {}): Promise<string> {
  const parsed = parseOptions(optionsSchema, options);
  if (typeof name !== 'string' || !isModelName(name)) {
    throw new EmoframeError('ERR_ARGUMENT', `Expected OWNER/NAME of a model on the Hub but received ${String(name)}.`);
  }
  const settings = await readSettings(parsed);
  const cached = new CachedModel(settings.cacheDir, name);
  if (settings.offline) return fromCache(cached, settings, parsed);
  // A commit never changes.
  const whole = isCommit(settings.revision) ? await cached.find(settings.revision, parsed.signal) : undefined;
  if (whole !== undefined && whole.damaged === undefined && (await cached.knowsNormalization(whole.directory))) {
    return whole.directory;
  }
  const client = new HubClient(name, settings, parsed.signal);
  let model: HubModel;
  try {
    model = await client.describe();
  } catch (error) {
    // The network failed: what was downloaded before can still be used.
    if (!(error instanceof EmoframeError) || error.code !== 'ERR_DOWNLOAD') throw error;
    const found = await cached.find(settings.revision, parsed.signal);
    if (found === undefined || found.damaged !== undefined) throw error;
    parsed.onWarning?.(`${error.message} The copy in the cache is used.`);
    return found.directory;
  }
  const directory = await new Download(client, cached, model, parsed).run();
  await cached.rememberCommit(settings.revision, model.commit);
  return directory;
}

/**
 * Where the model is that a user named: a file or directory if there is one of that name, else a model of the Hub if the name can
 * be one. Errors: `ERR_READ`, and as {@link downloadModel}.
 */
export async function locateModel(name: string, options: DownloadOptions = {}): Promise<string> {
  // What the user may not look at is no reason to load what has that name elsewhere.
  const here = (await unlessAbsent(name, statsOf(name))) !== undefined;
  if (!here && isModelName(name)) return downloadModel(name, options).catch(notHereEither(name));
  if (options.revision !== undefined) {
    throw new EmoframeError(
      'ERR_ARGUMENT',
      `Only a model on the Hub has a revision, and ${name} is ${here ? 'a file or directory here' : 'not named like one (OWNER/NAME)'}.`,
    );
  }
  return name;
}

/** A path that was mistyped looks like a name on the Hub. */
function notHereEither(name: string) {
  return (error: unknown): never => {
    if (!(error instanceof EmoframeError) || !['ERR_HUB', 'ERR_DOWNLOAD'].includes(error.code)) throw error;
    throw new EmoframeError(
      error.code,
      `There is no file or directory ${name} here, and on the Hub: ${error.message}`,
      { cause: error },
    );
  };
}
