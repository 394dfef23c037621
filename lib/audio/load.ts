import { unlessAborted } from '../abort.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { joinLong } from '../float32.js';
import { checkFinite, decodeFile, probeAudio } from './decode.js';
import { MAX_SAMPLES } from './limits.js';
import { checkChannel } from './range.js';
import { Resampler, SAMPLE_RATE } from './resample.js';
import type { AudioRange, DecodedAudio } from './types.js';

/** How far loading may go. */
export interface LoadOptions {
  /** Longer audio is refused with `ERR_AUDIO_LIMIT`, of a range longer ranges. Default: 4.6 hours, which is the most that can be held. */
  maxSeconds?: number;
  /** Stops the work with `ERR_ABORTED`. */
  signal?: AbortSignal;
}

/**
 * Loads speech as the models take it: 16 kHz, mono (the mean of the channels, or one of them), full scale at ±1, not normalised. The
 * same file gives the same bits. The file is decoded block by block, so memory is that of the result.
 *
 * @param path a WAV, FLAC, MP3 or Ogg (Opus, Vorbis) file of any rate and channel count
 * @param range the part wanted, in seconds, and the channel; an end up to 0.1 s past the file's is the file's
 * @throws as decodeFile; `ERR_AUDIO_LIMIT`; `ERR_ABORTED`
 * @example
 * const samples = await loadAudio('dialogue.wav', { startSeconds: 12.4, endSeconds: 15.1 });
 */
export function loadAudio(path: string, range: AudioRange = {}, options: LoadOptions = {}): Promise<Float32Array> {
  return unlessAborted(load(path, range, options), options.signal);
}

async function load(path: string, range: AudioRange, { maxSeconds, signal }: LoadOptions): Promise<Float32Array> {
  throwIfAborted(signal);
  const { sampleCount = 0, sampleRate, channelCount } = await probeAudio(path);
  checkChannel(range, channelCount, path);
  const seconds = Math.min(range.endSeconds ?? Infinity, sampleCount / sampleRate) - (range.startSeconds ?? 0);
  checkLimit(seconds * SAMPLE_RATE, path, maxSeconds);
  return collect(toSpeech(decodeFile(path, range, signal), path, range.channel), path, maxSeconds);
}

/**
 * Decoded audio as the models take it: 16 kHz, mono. What comes out lags behind what goes in by a part of a second.
 *
 * @param name of the audio in errors
 * @param channel the one wanted, counted from 1; absent: the mean of all
 */
export async function* toSpeech(
  blocks: AsyncIterable<DecodedAudio>,
  name: string,
  channel?: number,
): AsyncGenerator<Float32Array> {
  let resampler: Resampler | undefined;
  let position = 0;
  // Enormous floats can overflow on the way.
  const checked = (samples: Float32Array): Float32Array => {
    checkFinite(samples, name, position);
    position += samples.length;
    return samples;
  };
  try {
    for await (const { channels, sampleRate } of blocks) {
      resampler ??= await Resampler.open(sampleRate);
      const samples = resampler.push(channel === undefined ? mixToMono(channels) : channels[channel - 1]!);
      if (samples.length > 0) yield checked(samples);
    }
    const rest = resampler?.finish() ?? new Float32Array(0);
    if (rest.length > 0) yield checked(rest);
  } finally {
    resampler?.release();
  }
}

/** Joins speech. @throws `ERR_AUDIO_LIMIT` */
export async function collect(
  parts: AsyncIterable<Float32Array>,
  name: string,
  maxSeconds?: number,
): Promise<Float32Array> {
  const kept: Float32Array[] = [];
  let length = 0;
  for await (const part of parts) {
    kept.push(part);
    length += part.length;
    checkLimit(length, name, maxSeconds);
  }
  return joinLong(kept);
}

/** Whether so many samples of 16 kHz may be. @throws `ERR_AUDIO_LIMIT` */
export function checkLimit(samples: number, name: string, maxSeconds = Infinity): void {
  if (samples > Math.ceil(maxSeconds * SAMPLE_RATE)) {
    throw new EmoframeError(
      'ERR_AUDIO_LIMIT',
      `${name} is longer than the ${maxSeconds} seconds that are allowed here (maxSeconds).`,
      { file: name },
    );
  }
  if (!(samples > MAX_SAMPLES)) return;
  throw new EmoframeError(
    'ERR_AUDIO_LIMIT',
    `${name} is longer than the ${(MAX_SAMPLES / SAMPLE_RATE / 3600).toFixed(1)} hours that can be loaded at once. ` +
      'Give start and end times, or split it.',
    { file: name },
  );
}

function mixToMono(channels: Float32Array[]): Float32Array {
  const [first] = channels;
  if (channels.length === 1) return first!;
  const mono = new Float32Array(first!.length);
  for (let i = 0; i < mono.length; i++) {
    let sum = 0;
    for (const channel of channels) sum += channel[i]!;
    mono[i] = sum / channels.length;
  }
  return mono;
}
