import { type FileHandle, open } from 'node:fs/promises';
import { EmoframeError } from '../errors.js';
import { type FlacInfo, readFlacInfo, readFlacSamples } from './flac.js';
import { MAX_SAMPLE_RATE, MIN_SAMPLE_RATE } from './limits.js';
import { toFrameRange } from './range.js';
import type { AudioInfo, AudioRange, DecodedAudio } from './types.js';
import { readWavInfo, readWavSamples, type WavInfo } from './wav.js';

/**
 * Decodes a WAV (PCM of 8, 16, 24, 32 bits; float of 32, 64) or FLAC file, told by its content and not by its name.
 *
 * @param path the file
 * @param range the stretch wanted; of a WAV file only that stretch is read
 * @returns one array a channel at the file's own rate, integers scaled by 2^(1 - bits), floats as they are
 * @throws `ERR_FILE_NOT_FOUND`; `ERR_AUDIO` (damaged, cut short or empty); `ERR_AUDIO_FORMAT` (not supported);
 *   `ERR_AUDIO_RANGE`; `ERR_AUDIO_LIMIT` (see limits.ts); `ERR_NOT_FINITE`
 * @example
 * const { channels, sampleRate } = await decodeAudio('speech.flac', { startSeconds: 1.5, endSeconds: 4 });
 */
export async function decodeAudio(path: string, range: AudioRange = {}): Promise<DecodedAudio> {
  return withFile(path, async (handle, fileBytes) => {
    const info = await readInfo(handle, fileBytes, path);
    const channels = await readSamples(handle, info, range, fileBytes, path);
    for (const channel of channels) checkFinite(channel, path);
    return { channels, sampleRate: info.sampleRate };
  });
}

/**
 * What a file's header says, without decoding it.
 *
 * @throws as decodeAudio, of what a header can show
 * @example
 * const { sampleRate, channelCount, frameCount } = await probeAudio('speech.wav');
 */
export async function probeAudio(path: string): Promise<AudioInfo> {
  return withFile(path, (handle, fileBytes) => readInfo(handle, fileBytes, path));
}

/** Throws `ERR_NOT_FINITE` at the first NaN or infinity. */
export function checkFinite(samples: Float32Array, path: string): void {
  for (let i = 0; i < samples.length; i++) {
    if (!Number.isFinite(samples[i])) {
      throw new EmoframeError(
        'ERR_NOT_FINITE',
        `Sample ${i} of ${path} is ${samples[i]}: the file was made wrongly. Make it again, or leave it out.`,
        { file: path },
      );
    }
  }
}

async function readInfo(handle: FileHandle, fileBytes: number, path: string): Promise<WavInfo | FlacInfo> {
  const magic = Buffer.alloc(12);
  const { bytesRead } = await handle.read(magic, 0, 12, 0);
  if (bytesRead === 0) throw new EmoframeError('ERR_AUDIO', `${path} is empty.`, { file: path });
  let info: WavInfo | FlacInfo;
  if (magic.toString('latin1', 0, 4) === 'RIFF' && magic.toString('latin1', 8, 12) === 'WAVE') {
    info = await readWavInfo(handle, fileBytes, path);
  } else if (magic.toString('latin1', 0, 4) === 'fLaC') {
    info = await readFlacInfo(handle, path);
  } else {
    throw new EmoframeError(
      'ERR_AUDIO_FORMAT',
      `${path} is neither a WAV (RIFF) nor a FLAC file; these two are supported. Convert it, e.g. with sox or ffmpeg.`,
      { file: path },
    );
  }
  if (info.sampleRate < MIN_SAMPLE_RATE || info.sampleRate > MAX_SAMPLE_RATE) {
    throw new EmoframeError(
      'ERR_AUDIO_FORMAT',
      `${path} has ${info.sampleRate} samples a second; ${MIN_SAMPLE_RATE} to ${MAX_SAMPLE_RATE} are supported.`,
      { file: path },
    );
  }
  return info;
}

async function readSamples(
  handle: FileHandle,
  info: WavInfo | FlacInfo,
  range: AudioRange,
  fileBytes: number,
  path: string,
): Promise<Float32Array[]> {
  if (info.format === 'wav') {
    return readWavSamples(handle, info, toFrameRange(range, info.sampleRate, info.frameCount, path), path);
  }
  const channels = await readFlacSamples(handle, info, fileBytes, path);
  const { start, end } = toFrameRange(range, info.sampleRate, channels[0].length, path);
  return end - start === channels[0].length ? channels : channels.map((channel) => channel.slice(start, end));
}

/** Opens a regular file; the system's errors become sentences. */
async function withFile<Result>(
  path: string,
  work: (handle: FileHandle, fileBytes: number) => Promise<Result>,
): Promise<Result> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    const stats = await handle.stat();
    if (!stats.isFile()) throw new EmoframeError('ERR_AUDIO', `${path} is not a file.`, { file: path });
    return await work(handle, stats.size);
  } catch (error) {
    if (error instanceof EmoframeError) throw error;
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new EmoframeError('ERR_FILE_NOT_FOUND', `There is no file ${path}.`, { file: path, cause: error });
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw new EmoframeError('ERR_AUDIO', `${path} cannot be read: ${reason}.`, { file: path, cause: error });
  } finally {
    await handle?.close();
  }
}
