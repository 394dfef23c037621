import { unlessAborted } from '../abort.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { probeAudio } from './decode.js';
import type { AudioPool } from './pool.js';
import { checkChannel, rangeOf, toSampleRange } from './range.js';
import { SAMPLE_RATE } from './resample.js';
import type { AudioRange } from './types.js';

/** Which part of which file an utterance is; `Utterance` of lib/corpus fits. */
export interface AudioExcerpt extends AudioRange {
  audio: string;
}

/**
 * Utterances' samples, loaded once and kept while they fit: the least recently used are dropped first. Calls for one
 * that is being loaded wait for that load.
 *
 * @example
 * const store = new AudioStore(pool, { bytes: 2 ** 30 });
 * const samples = await store.get(corpus.utterances[0]);
 */
export class AudioStore {
  readonly #budget: number;
  /** In order of use, oldest first. */
  readonly #kept = new Map<string, Float32Array>();
  readonly #loading = new Map<string, Promise<Float32Array>>();
  #bytes = 0;

  /** `bytes`: the most that the kept samples may take, 4 a sample; 0 keeps nothing. */
  constructor(
    private readonly pool: AudioPool,
    options: { bytes: number },
  ) {
    if (!(options.bytes >= 0)) {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected 0 or a positive number for bytes but received ${options.bytes} of type ${typeof options.bytes}.`,
      );
    }
    this.#budget = options.bytes;
  }

  /** Bytes held now. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * The utterance's samples, 16 kHz mono. The array is shared with every other caller: do not write to it.
   *
   * @throws as AudioPool.load. An abort ends this wait only; others that wait for the same utterance get it.
   */
  async get(excerpt: AudioExcerpt, signal?: AbortSignal): Promise<Float32Array> {
    throwIfAborted(signal);
    const key = keyOf(excerpt);
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      return kept;
    }
    let loading = this.#loading.get(key);
    if (loading === undefined) {
      loading = this.#load(key, excerpt);
      this.#loading.set(key, loading);
    }
    return unlessAborted(loading, signal);
  }

  async #load(key: string, excerpt: AudioExcerpt): Promise<Float32Array> {
    try {
      const samples = await this.pool.load(excerpt.audio, rangeOf(excerpt));
      this.#keep(key, samples);
      return samples;
    } finally {
      this.#loading.delete(key);
    }
  }

  #keep(key: string, samples: Float32Array): void {
    if (samples.byteLength > this.#budget) return;
    this.#kept.set(key, samples);
    this.#bytes += samples.byteLength;
    for (const [oldest, { byteLength }] of this.#kept) {
      if (this.#bytes <= this.#budget) break;
      this.#kept.delete(oldest);
      this.#bytes -= byteLength;
    }
  }
}

/**
 * An utterance's length from the header; where that does not say (a streamed FLAC), by decoding it in the pool.
 *
 * @throws as probeAudio
 */
export async function measureSeconds(excerpt: AudioExcerpt, pool: Pick<AudioPool, 'measure'>): Promise<number> {
  const { sampleRate, sampleCount, channelCount } = await probeAudio(excerpt.audio);
  checkChannel(excerpt, channelCount, excerpt.audio);
  if (sampleCount === undefined) return (await pool.measure(excerpt.audio, rangeOf(excerpt))) / SAMPLE_RATE;
  const { start, end } = toSampleRange(rangeOf(excerpt), sampleRate, sampleCount, excerpt.audio);
  return (end - start) / sampleRate;
}

function keyOf(excerpt: AudioExcerpt): string {
  return `${excerpt.startSeconds ?? ''}:${excerpt.endSeconds ?? ''}:${excerpt.channel ?? ''}:${excerpt.audio}`;
}
