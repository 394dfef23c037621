import { EmoframeError, throwIfAborted } from '../errors.js';
import { allFinite } from '../float32.js';
import { ByteSource, cannotRead } from './byteSource.js';
import { flac } from './flac.js';
import type { AudioFormat, AudioTrack } from './format.js';
import { MAX_SAMPLE_RATE, MIN_SAMPLE_RATE } from './limits.js';
import { mp3 } from './mp3.js';
import { ogg } from './ogg.js';
import { toSampleRange } from './range.js';
import type { AudioInfo, AudioRange, DecodedAudio } from './types.js';
import { openRaw, type RawFormat, wav } from './wav.js';

/** Recognised by their first bytes. */
const formats: readonly AudioFormat[] = [wav, flac, ogg, mp3];
const MAGIC_BYTES = 12;

/**
 * Decodes a WAV (PCM of 8, 16, 24, 32 bits; float of 32, 64), FLAC, MP3 or Ogg (Opus, Vorbis) file, recognised by its content and
 * not by its name, block by block.
 *
 * @param path the file
 * @param range the part wanted: only that part of a WAV file is read, and what lies near it of a FLAC file
 * @param signal stops the work with `ERR_ABORTED`
 * @returns blocks of at most a few megabytes: one array a channel at the file's own rate, integers scaled by 2^(1 - bits),
 *   floats as they are
 * @throws `ERR_FILE_NOT_FOUND`; `ERR_AUDIO` (damaged, cut short or empty); `ERR_AUDIO_FORMAT` (not supported);
 *   `ERR_AUDIO_RANGE`; `ERR_NOT_FINITE`
 * @example
 * for await (const { channels, sampleRate } of decodeFile('speech.flac', { startSeconds: 1.5, endSeconds: 4 })) {}
 */
export async function* decodeFile(
  path: string,
  range: AudioRange = {},
  signal?: AbortSignal,
): AsyncGenerator<DecodedAudio> {
  yield* decode(await ByteSource.openFile(path), range, { signal });
}

/**
 * The same of bytes that have no file, an upload or a pipe, or of raw samples where `raw` says how they are written. What has come
 * of a stream is decoded while the rest is still on its way.
 *
 * @param name of the audio in errors
 * @throws as decodeFile; what the stream throws comes as it is, if it is an EmoframeError
 */
export async function* decodeBytes(
  bytes: Uint8Array | AsyncIterable<Uint8Array>,
  name: string,
  raw?: RawFormat,
): AsyncGenerator<DecodedAudio> {
  const source = bytes instanceof Uint8Array ? ByteSource.ofBytes(bytes, name) : ByteSource.ofStream(bytes, name);
  for await (const block of decode(source, {}, { raw })) {
    yield block;
    // Decoding is done on this thread: others get their turn between blocks.
    await new Promise(setImmediate);
  }
}

/**
 * What a file's header says, without decoding it.
 *
 * @throws as decodeFile, of what a header can show
 * @example
 * const { sampleRate, channelCount, sampleCount } = await probeAudio('speech.wav');
 */
export async function probeAudio(path: string): Promise<AudioInfo> {
  const source = await ByteSource.openFile(path);
  try {
    return (await openTrack(source)).info;
  } catch (error) {
    throw cannotRead(error, path);
  } finally {
    await source.close();
  }
}

async function* decode(
  source: ByteSource,
  range: AudioRange,
  { raw, signal }: { raw?: RawFormat | undefined; signal?: AbortSignal | undefined },
): AsyncGenerator<DecodedAudio> {
  const { name } = source;
  try {
    const { info, blocks } = await openTrack(source, raw);
    const { sampleRate } = info;
    // A streamed file does not say how long it is until it is over.
    const { start, end } = toSampleRange(range, sampleRate, info.sampleCount ?? Number.MAX_SAFE_INTEGER, name);
    let position = 0;
    for await (const { first, channels } of blocks(start)) {
      throwIfAborted(signal);
      position = first + channels[0]!.length;
      const wanted = channels.map((channel) => channel.subarray(Math.max(start - first, 0), Math.max(end - first, 0)));
      if (wanted[0]!.length > 0) {
        for (const channel of wanted) checkFinite(channel, name, Math.max(start, first));
        yield { channels: wanted, sampleRate };
      }
      // What is not asked for is not judged; without a range, the end of the file is.
      if (range.endSeconds !== undefined && position >= end) return;
    }
    toSampleRange(range, sampleRate, position, name);
  } catch (error) {
    throw cannotRead(error, name);
  } finally {
    await source.close();
  }
}

/** The sound behind the header of a file of any format, or raw samples. */
async function openTrack(source: ByteSource, raw?: RawFormat): Promise<AudioTrack> {
  const track = raw === undefined ? await openFormat(source) : openRaw(source, raw);
  checkRate(track.info.sampleRate, source.name);
  return track;
}

async function openFormat(source: ByteSource): Promise<AudioTrack> {
  const { name } = source;
  const start = await source.peek(MAGIC_BYTES);
  if (start.length === 0) throw new EmoframeError('ERR_AUDIO', `${name} is empty.`, { file: name });
  const format = formats.find(({ matches }) => matches(start));
  if (format !== undefined) return format.open(source);
  throw new EmoframeError(
    'ERR_AUDIO_FORMAT',
    `${name} is neither WAV (RIFF) nor FLAC, MP3, Opus or Vorbis (Ogg). Convert it, e.g. with sox or ffmpeg, ` +
      'or give raw samples as bytes, with their format.',
    { file: name },
  );
}

/** Throws `ERR_NOT_FINITE` at the first NaN or infinity; `before`: samples that came earlier. */
export function checkFinite(samples: Float32Array, path: string, before: number): void {
  if (allFinite(samples)) return;
  for (let i = 0; i < samples.length; i++) {
    if (!Number.isFinite(samples[i])) {
      throw new EmoframeError(
        'ERR_NOT_FINITE',
        `Sample ${before + i} of ${path} is ${samples[i]}: the file was written incorrectly. Create it again, or leave it out.`,
        { file: path },
      );
    }
  }
}

/** Throws `ERR_AUDIO_FORMAT` for a rate that cannot be resampled. */
export function checkRate(sampleRate: number, path: string): void {
  if (sampleRate >= MIN_SAMPLE_RATE && sampleRate <= MAX_SAMPLE_RATE) return;
  throw new EmoframeError(
    'ERR_AUDIO_FORMAT',
    `${path} has a sample rate of ${sampleRate} Hz; ${MIN_SAMPLE_RATE} to ${MAX_SAMPLE_RATE} Hz are supported.`,
    { file: path },
  );
}
