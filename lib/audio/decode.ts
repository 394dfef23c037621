import { type FileHandle, open } from 'node:fs/promises';
import { EmoframeError } from '../errors.js';
import { ByteReader } from './byteReader.js';
import { decodeFlac, type FlacInfo, readFlacInfo, readFlacSlices, readSlices } from './flac.js';
import { type FlacFrame, findFlacFrame } from './flacSeek.js';
import { MAX_SAMPLE_RATE, MIN_SAMPLE_RATE } from './limits.js';
import { decodeMp3, isMp3, type Mp3Info, readMp3Info } from './mp3.js';
import { type OggInfo, readOggInfo } from './ogg.js';
import { decodeOgg } from './oggDecode.js';
import { toSampleRange } from './range.js';
import type { AudioInfo, AudioRange, DecodedAudio } from './types.js';
import { readWavBlocks, readWavInfo, type WavInfo } from './wav.js';

type FileInfo = WavInfo | FlacInfo | Mp3Info | OggInfo;

/**
 * Decodes a WAV (PCM of 8, 16, 24, 32 bits; float of 32, 64), FLAC, MP3 or Ogg (Opus, Vorbis) file, told by its content and
 * not by its name, block by block.
 *
 * @param path the file
 * @param range the stretch wanted: only that stretch of a WAV file is read, and what lies near it of a FLAC file
 * @returns blocks of at most a few megabytes: one array a channel at the file's own rate, integers scaled by 2^(1 - bits),
 *   floats as they are
 * @throws `ERR_FILE_NOT_FOUND`; `ERR_AUDIO` (damaged, cut short or empty); `ERR_AUDIO_FORMAT` (not supported);
 *   `ERR_AUDIO_RANGE`; `ERR_NOT_FINITE`
 * @example
 * for await (const { channels, sampleRate } of decodeFile('speech.flac', { startSeconds: 1.5, endSeconds: 4 })) {}
 */
export async function* decodeFile(path: string, range: AudioRange = {}): AsyncGenerator<DecodedAudio> {
  const { handle, fileBytes } = await openFile(path);
  try {
    const info = await readInfo(handle, fileBytes, path);
    let position = 0;
    for await (const channels of readBlocks(handle, fileBytes, info, range, path)) {
      for (const channel of channels) checkFinite(channel, path, position);
      position += channels[0]!.length;
      yield { channels, sampleRate: info.sampleRate };
    }
  } catch (error) {
    throw toSentence(error, path);
  } finally {
    await handle.close();
  }
}

/**
 * What a file's header says, without decoding it.
 *
 * @throws as decodeAudio, of what a header can show
 * @example
 * const { sampleRate, channelCount, frameCount } = await probeAudio('speech.wav');
 */
export async function probeAudio(path: string): Promise<AudioInfo> {
  const { handle, fileBytes } = await openFile(path);
  try {
    return await readInfo(handle, fileBytes, path);
  } catch (error) {
    throw toSentence(error, path);
  } finally {
    await handle.close();
  }
}

/** A number times 0 is 0, and NaN if it is not finite: four sums side by side are several times faster than a test a sample. */
function allFinite(samples: Float32Array): boolean {
  const whole = samples.length - (samples.length % 4);
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < whole; i += 4) {
    a += samples[i]! * 0;
    b += samples[i + 1]! * 0;
    c += samples[i + 2]! * 0;
    d += samples[i + 3]! * 0;
  }
  for (let i = whole; i < samples.length; i++) a += samples[i]! * 0;
  return a + b + c + d === 0;
}

/** Throws `ERR_NOT_FINITE` at the first NaN or infinity; `before`: samples that came earlier. */
export function checkFinite(samples: Float32Array, path: string, before: number): void {
  if (allFinite(samples)) return;
  for (let i = 0; i < samples.length; i++) {
    if (!Number.isFinite(samples[i])) {
      throw new EmoframeError(
        'ERR_NOT_FINITE',
        `Sample ${before + i} of ${path} is ${samples[i]}: the file was made wrongly. Make it again, or leave it out.`,
        { file: path },
      );
    }
  }
}

async function readInfo(handle: FileHandle, fileBytes: number, path: string): Promise<FileInfo> {
  const magic = Buffer.alloc(12);
  const { bytesRead } = await handle.read(magic, 0, 12, 0);
  if (bytesRead === 0) throw new EmoframeError('ERR_AUDIO', `${path} is empty.`, { file: path });
  let info: FileInfo;
  if (magic.toString('latin1', 0, 4) === 'RIFF' && magic.toString('latin1', 8, 12) === 'WAVE') {
    info = await readWavInfo(handle, fileBytes, path);
  } else if (magic.toString('latin1', 0, 4) === 'fLaC') {
    info = await readFlacInfo(handle, path);
  } else if (magic.toString('latin1', 0, 4) === 'OggS') {
    info = await readOggInfo(handle, fileBytes, path);
  } else if (isMp3(magic)) {
    info = await readMp3Info(new ByteReader(readSlices(handle), path), path);
  } else {
    throw unknownFormat(path, 'Convert it, e.g. with sox or ffmpeg.');
  }
  checkRate(info.sampleRate, path);
  return info;
}

/** Throws `ERR_AUDIO_FORMAT` for a rate that cannot be resampled. */
export function checkRate(sampleRate: number, path: string): void {
  if (sampleRate >= MIN_SAMPLE_RATE && sampleRate <= MAX_SAMPLE_RATE) return;
  throw new EmoframeError(
    'ERR_AUDIO_FORMAT',
    `${path} has ${sampleRate} samples a second; ${MIN_SAMPLE_RATE} to ${MAX_SAMPLE_RATE} are supported.`,
    { file: path },
  );
}

async function* readBlocks(
  handle: FileHandle,
  fileBytes: number,
  info: FileInfo,
  range: AudioRange,
  path: string,
): AsyncGenerator<Float32Array[]> {
  if (info.format === 'wav') {
    yield* readWavBlocks(handle, info, toSampleRange(range, info.sampleRate, info.frameCount, path), path);
    return;
  }
  // A streamed file tells its length when it is over.
  const { start, end } = toSampleRange(range, info.sampleRate, info.frameCount ?? Number.MAX_SAFE_INTEGER, path);
  const from = info.format === 'flac' && start > 0 ? await findFlacFrame(handle, fileBytes, info, start) : undefined;
  let position = from?.sample ?? 0;
  for await (const channels of decodeFrom(handle, info, from, path)) {
    const first = Math.max(start - position, 0);
    const last = Math.min(end - position, channels[0]!.length);
    if (first < last) yield channels.map((channel) => channel.subarray(first, last));
    position += channels[0]!.length;
    // What is not asked for is not judged; without a range, the end of the file is.
    if (range.endSeconds !== undefined && position >= end) return;
  }
  toSampleRange(range, info.sampleRate, position, path);
}

/** Decodes a compressed file from its start; a FLAC file, from a frame. */
async function* decodeFrom(
  handle: FileHandle,
  info: Exclude<FileInfo, WavInfo>,
  from: FlacFrame | undefined,
  path: string,
): AsyncGenerator<Float32Array[]> {
  if (info.format === 'flac') {
    const { frameCount } = info;
    const rest = frameCount === undefined ? info : { ...info, frameCount: frameCount - (from?.sample ?? 0) };
    yield* decodeFlac(readFlacSlices(handle, from?.position), rest, path);
    return;
  }
  const blocks = decodeCompressed(new ByteReader(readSlices(handle), path), info, path);
  for await (const { channels } of blocks) yield channels;
}

/** Decodes MP3, Opus or Vorbis from its first byte on. */
async function* decodeCompressed(
  reader: ByteReader,
  info: Mp3Info | OggInfo,
  name: string,
): AsyncGenerator<DecodedAudio> {
  // Past the tags, to where the sound begins.
  if (info.format === 'mp3') yield* decodeMp3(reader, await readMp3Info(reader, name), name);
  else yield* decodeOgg(reader, info, name);
}

/** What audio of no known kind is told. */
export function unknownFormat(name: string, hint: string): EmoframeError {
  return new EmoframeError(
    'ERR_AUDIO_FORMAT',
    `${name} is neither WAV (RIFF) nor FLAC, MP3, Opus or Vorbis (Ogg). ${hint}`,
    {
      file: name,
    },
  );
}

async function openFile(path: string): Promise<{ handle: FileHandle; fileBytes: number }> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    const stats = await handle.stat();
    if (!stats.isFile()) throw new EmoframeError('ERR_AUDIO', `${path} is not a file.`, { file: path });
    return { handle, fileBytes: stats.size };
  } catch (error) {
    await handle?.close();
    throw toSentence(error, path);
  }
}

/** The system's errors as ours. */
function toSentence(error: unknown, path: string): EmoframeError {
  if (error instanceof EmoframeError) return error;
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
    return new EmoframeError('ERR_FILE_NOT_FOUND', `There is no file ${path}.`, { file: path, cause: error });
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new EmoframeError('ERR_AUDIO', `${path} cannot be read: ${reason}.`, { file: path, cause: error });
}
