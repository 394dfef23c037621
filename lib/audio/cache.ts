// Decoded audio kept between runs, keyed by what a file holds rather than by its name. An entry is one flat file of
// samples, read at its place into the array that is used: Node cannot map files into memory, but the system's page cache
// serves repeated reads the same way, and nothing of an entry is held that nobody uses.
import { createHash } from 'node:crypto';
import { rm, stat, utimes } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { EmoframeError } from '../errors.js';
import { OpenFile, readParts, readText, systemMessage } from '../files/read.js';
import {
  type AudioCacheOptions,
  DEFAULT_CACHE_BYTES,
  filePath,
  makeRoom,
  openCacheFolder,
  putFile,
  samplesPath,
} from './cacheFolder.js';
import { probeAudio } from './decode.js';
import { decoderVersions } from './decoderVersions.js';
import { MAX_SAMPLES } from './limits.js';
import { checkLimit, type LoadOptions, loadAudio } from './load.js';
import { SAMPLE_RATE } from './resample.js';
import type { AudioRange } from './types.js';

/** Magic, the format's version, the samples' checksum, their number, the key. */
const HEADER_BYTES = 8 + 4 + 4 + 8 + 32;
const MAGIC = Buffer.from('EMOAUDIO');
const FORMAT_VERSION = 1;
/** Of what is remembered of a file; far more than it takes. */
const RECORD_BYTES = 4096;
/** A file that was changed within this time of being read may change again without a change of its times. */
const SETTLED_MILLISECONDS = 2000;
/** Entries that are used are marked so at most this often. */
const MARK_MILLISECONDS = 3600 * 1000;
/** Room is made after so large a part of the bound was written, by each thread for itself. */
const CHECKED_SHARE = 1 / 16;

/**
 * A cache in use by one thread.
 *
 * @example
 * const cache = new AudioCache({ dir: 'cache' }, console.warn);
 * const samples = await cache.load('speech.flac', { startSeconds: 1 }); // what loadAudio gives, to the bit
 */
export class AudioCache {
  readonly #dir: string;
  readonly #bytes: number;
  readonly #warn: (message: string) => void;
  #opened: Promise<void> | undefined;
  #writes = true;
  /** Written since room was last made; at first as if enough had been. */
  #unchecked = Number.POSITIVE_INFINITY;

  /** `warn` is called with what goes wrong without stopping the work: a damaged entry, a disk that is full. */
  constructor({ dir, bytes = DEFAULT_CACHE_BYTES }: AudioCacheOptions, warn: (message: string) => void) {
    this.#dir = dir;
    this.#bytes = bytes;
    this.#warn = warn;
  }

  /**
   * What `loadAudio` gives, from the cache where it is there. WAV files of 16 kHz are read as they are: that costs no more
   * than reading them from a cache.
   *
   * @throws as loadAudio; `ERR_AUDIO_CACHE`
   */
  async load(path: string, range: AudioRange, options: LoadOptions = {}): Promise<Float32Array> {
    this.#opened ??= openCacheFolder(this.#dir);
    await this.#opened;
    const { format, sampleRate } = await probeAudio(path);
    if (format === 'wav' && sampleRate === SAMPLE_RATE) return loadAudio(path, range, options);
    const before = await identityOf(path);
    const key = keyOf(await this.#contentOf(path, before, options.signal), range);
    const kept = await this.#read(key, path);
    if (kept !== undefined) {
      checkLimit(kept.length, path, options.maxSeconds);
      return kept;
    }
    const samples = await loadAudio(path, range, options);
    // A file that was written to meanwhile is not what its content says.
    if ((await identityOf(path)).text === before.text) await this.#keep(key, samples);
    return samples;
  }

  /** The hash of a file's bytes, remembered for as long as nothing about the file changes. */
  async #contentOf(path: string, identity: Identity, signal: AbortSignal | undefined): Promise<string> {
    const record = filePath(this.#dir, path);
    const [known, content] = (await readText(record, RECORD_BYTES).catch(() => '')).split('\n');
    if (known === identity.text && content !== undefined && /^[0-9a-f]{64}$/.test(content)) return content;
    const found = await hashFile(path, signal);
    if (Date.now() - identity.changedAt > SETTLED_MILLISECONDS) {
      await this.#put(record, [Buffer.from(`${identity.text}\n${found}\n`, 'latin1')]);
    }
    return found;
  }

  /** The samples under a key; nothing where there are none, or they are damaged. */
  async #read(key: string, audio: string): Promise<Float32Array | undefined> {
    const path = samplesPath(this.#dir, key);
    let file: OpenFile | undefined;
    try {
      file = await OpenFile.open(
        path,
        (reason) => new EmoframeError('ERR_READ', `${path}: ${reason}.`, { file: path }),
      );
      const samples = await readEntry(file, key);
      if (samples === undefined) {
        this.#warn(`The cached audio of ${audio} is damaged (${path}): it is decoded again.`);
        await rm(path, { force: true });
        return undefined;
      }
      const now = new Date();
      if (now.getTime() - file.stats.mtimeMs > MARK_MILLISECONDS) await utimes(path, now, now).catch(() => undefined);
      return samples;
    } catch (error) {
      if ((error as EmoframeError).code !== 'ERR_FILE_NOT_FOUND') {
        this.#warn(`The cached audio of ${audio} cannot be read (${systemMessage(error)}): it is decoded again.`);
      }
      return undefined;
    } finally {
      await file?.close();
    }
  }

  async #keep(key: string, samples: Float32Array): Promise<void> {
    const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
    if (HEADER_BYTES + bytes.length > this.#bytes) return;
    const path = samplesPath(this.#dir, key);
    if (!(await this.#put(path, [headerOf(key, samples.length, crc32(bytes)), bytes]))) return;
    this.#unchecked += HEADER_BYTES + bytes.length;
    if (this.#unchecked < CHECKED_SHARE * this.#bytes) return;
    this.#unchecked = 0;
    await makeRoom(this.#dir, this.#bytes).catch((error: unknown) => this.#giveUp(error));
  }

  /** Whether a file was written. A cache that cannot be written to is reported once, and is only read from then on. */
  async #put(path: string, chunks: readonly Uint8Array[]): Promise<boolean> {
    if (!this.#writes) return false;
    try {
      await putFile(path, chunks);
      return true;
    } catch (error) {
      this.#giveUp(error);
      return false;
    }
  }

  #giveUp(error: unknown): void {
    this.#writes = false;
    this.#warn(`The audio cache ${this.#dir} cannot be written to (${systemMessage(error)}): continuing without it.`);
  }
}

/** What changes whenever a file does. */
interface Identity {
  text: string;
  /** In ms, as `Date.now()`. */
  changedAt: number;
}

async function identityOf(path: string): Promise<Identity> {
  const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = await stat(path, { bigint: true });
  return { text: [dev, ino, size, mtimeNs, ctimeNs].join(' '), changedAt: Number(ctimeMs) };
}

async function hashFile(path: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of readParts(path, signal)) hash.update(part);
  return hash.digest('hex');
}

/** Everything that decides which samples come out, to the bit. */
function keyOf(content: string, { startSeconds = 0, endSeconds, channel }: AudioRange): string {
  const settings = [FORMAT_VERSION, SAMPLE_RATE, startSeconds, endSeconds ?? null, channel ?? null];
  return createHash('sha256')
    .update(JSON.stringify([content, settings, decoderVersions()]))
    .digest('hex');
}

function headerOf(key: string, count: number, checksum: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32LE(FORMAT_VERSION, 8);
  header.writeUInt32LE(checksum, 12);
  header.writeBigUInt64LE(BigInt(count), 16);
  header.write(key, 24, 'hex');
  return header;
}

/** Reads a whole entry; nothing where it is not what was written under the key. */
async function readEntry(file: OpenFile, key: string): Promise<Float32Array | undefined> {
  const count = (file.size - HEADER_BYTES) / Float32Array.BYTES_PER_ELEMENT;
  if (!Number.isInteger(count) || count < 0 || count > MAX_SAMPLES) return undefined;
  const header = Buffer.alloc(HEADER_BYTES);
  const samples = new Float32Array(count);
  const bytes = new Uint8Array(samples.buffer);
  if ((await file.readUpTo(header, 0)) + (await file.readUpTo(bytes, HEADER_BYTES)) < file.size) return undefined;
  return headerOf(key, count, crc32(bytes)).equals(header) ? samples : undefined;
}
