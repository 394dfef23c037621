// WAV is read here rather than by a package: the packages on npm that are kept up scale positive samples by 1/32767
// (libsndfile, sox and torchaudio use 1/32768, so a model would see other numbers than it was trained on) and take a
// truncated file for a short one; and none can read ten seconds from the middle of an hour without decoding the hour.
import type { FileHandle } from 'node:fs/promises';
import { EmoframeError } from '../errors.js';
import type { AudioInfo, SampleRange } from './types.js';

const FORMAT_PCM = 1;
const FORMAT_FLOAT = 3;
const FORMAT_EXTENSIBLE = 0xfffe;
/** Programs that write to a pipe cannot know the size and put a number near the largest (sox: 0x7ffff000 and up). */
export const UNKNOWN_SIZE = 0x7ffff000;
/** A walk over more chunks than this is a walk through noise. */
export const MAX_CHUNKS = 1000;

/** How samples are written. */
export interface SampleFormat {
  channelCount: number;
  encoding: 'pcm' | 'float';
  bitsPerSample: number;
}

export type WavFormat = SampleFormat & { sampleRate: number };

export interface WavInfo extends AudioInfo, SampleFormat {
  format: 'wav';
  frameCount: number;
  /** Byte offset of the first sample in the file. */
  dataOffset: number;
}

export function corruptWav(path: string, what: string): EmoframeError {
  return new EmoframeError('ERR_AUDIO', `${path} is not a sound WAV file: ${what}.`, { file: path });
}

async function readExactly(handle: FileHandle, position: number, length: number, path: string): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) throw corruptWav(path, `it ends at byte ${position + done}, inside its samples or a header`);
    done += bytesRead;
  }
  return buffer;
}

/** The header of a RIFF/WAVE file, its sizes checked against the file's. Throws `ERR_AUDIO` and `ERR_AUDIO_FORMAT`. */
export async function readWavInfo(handle: FileHandle, fileBytes: number, path: string): Promise<WavInfo> {
  let position = 12;
  let format: WavFormat | undefined;
  for (let chunk = 0; chunk < MAX_CHUNKS && position + 8 <= fileBytes; chunk++) {
    const head = await readExactly(handle, position, 8, path);
    const name = head.toString('latin1', 0, 4);
    const declared = head.readUInt32LE(4);
    position += 8;
    if (name === 'fmt ') {
      format = parseFormat(await readExactly(handle, position, Math.min(declared, 40), path), path);
    } else if (name === 'data') {
      if (format === undefined) throw corruptWav(path, 'its samples come before their format');
      const available = fileBytes - position;
      if (declared > available && declared < UNKNOWN_SIZE) {
        throw corruptWav(path, `it is cut short: ${declared} bytes of samples announced, ${available} there`);
      }
      const bytesPerFrame = (format.channelCount * format.bitsPerSample) / 8;
      const frameCount = Math.floor(Math.min(declared, available) / bytesPerFrame);
      if (frameCount === 0) throw corruptWav(path, 'it holds no samples');
      return { ...format, format: 'wav', frameCount, dataOffset: position };
    }
    // Chunks start at even offsets.
    position += declared + (declared % 2);
  }
  throw corruptWav(path, `it has no "${format === undefined ? 'fmt ' : 'data'}" chunk`);
}

/** The `fmt ` chunk. Throws `ERR_AUDIO` and `ERR_AUDIO_FORMAT`. */
export function parseFormat(chunk: Buffer, path: string): WavFormat {
  if (chunk.length < 16) throw corruptWav(path, 'its format chunk is too short');
  let tag = chunk.readUInt16LE(0);
  const channelCount = chunk.readUInt16LE(2);
  const sampleRate = chunk.readUInt32LE(4);
  const bytesPerFrame = chunk.readUInt16LE(12);
  const bitsPerSample = chunk.readUInt16LE(14);
  if (tag === FORMAT_EXTENSIBLE) {
    if (chunk.length < 40) throw corruptWav(path, 'its extensible format chunk is too short');
    // The sub-format's identifier starts with the plain tag.
    tag = chunk.readUInt16LE(24);
  }
  const encoding = tag === FORMAT_PCM ? 'pcm' : tag === FORMAT_FLOAT ? 'float' : undefined;
  const widths = encoding === 'float' ? [32, 64] : [8, 16, 24, 32];
  if (encoding === undefined || !widths.includes(bitsPerSample)) {
    throw new EmoframeError(
      'ERR_AUDIO_FORMAT',
      `${path} is a WAV file of format ${tag} with ${bitsPerSample} bits a sample; PCM of 8, 16, 24 or 32 bits and ` +
        'floating point of 32 or 64 bits are supported. Convert it, e.g. with sox, to 16-bit PCM.',
      { file: path },
    );
  }
  if (channelCount === 0 || bytesPerFrame !== (channelCount * bitsPerSample) / 8) {
    throw corruptWav(path, `${channelCount} channels of ${bitsPerSample} bits do not make ${bytesPerFrame} bytes`);
  }
  return { sampleRate, channelCount, encoding, bitsPerSample };
}

/** Frames of a block, which bound the memory beside the result to a few megabytes. */
const BLOCK_BYTES = 2 ** 20;

/** Reads and decodes the samples of `range` only, block by block. */
export async function* readWavBlocks(
  handle: FileHandle,
  info: WavInfo,
  range: SampleRange,
  path: string,
): AsyncGenerator<Float32Array[]> {
  const bytesPerFrame = (info.channelCount * info.bitsPerSample) / 8;
  const blockFrames = Math.max(1, Math.floor(BLOCK_BYTES / bytesPerFrame));
  for (let first = range.start; first < range.end; first += blockFrames) {
    const count = Math.min(blockFrames, range.end - first);
    const position = info.dataOffset + first * bytesPerFrame;
    yield decodeFrames(await readExactly(handle, position, count * bytesPerFrame, path), info);
  }
}

/** Whole frames of interleaved samples to one array a channel; integers are scaled by 2^(1 - bits), as libsndfile does. */
export function decodeFrames(block: Buffer, format: SampleFormat): Float32Array[] {
  const { channelCount, bitsPerSample } = format;
  const frames = (8 * block.length) / (channelCount * bitsPerSample);
  const sample = sampleReader(block, format);
  return Array.from({ length: channelCount }, (_, channel) => {
    const output = new Float32Array(frames);
    for (let i = 0; i < frames; i++) output[i] = sample(i * channelCount + channel);
    return output;
  });
}

/** Sample `i` of an interleaved block. */
function sampleReader(block: Buffer, info: SampleFormat): (i: number) => number {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  if (info.encoding === 'float') {
    return info.bitsPerSample === 32 ? (i) => view.getFloat32(i * 4, true) : (i) => view.getFloat64(i * 8, true);
  }
  switch (info.bitsPerSample) {
    case 8: // The only unsigned width: silence is 128.
      return (i) => (block[i] - 128) / 2 ** 7;
    case 16:
      return (i) => view.getInt16(i * 2, true) / 2 ** 15;
    case 24:
      return (i) => (view.getUint16(i * 3, true) + view.getInt8(i * 3 + 2) * 2 ** 16) / 2 ** 23;
    default:
      return (i) => view.getInt32(i * 4, true) / 2 ** 31;
  }
}
