import type { FileHandle } from 'node:fs/promises';
import { FLACDecoder } from '@wasm-audio-decoders/flac';
import type { EmoframeError } from '../errors.js';
import { ByteReader } from './byteReader.js';
import { readFlacFrames } from './flacFrames.js';
import type { AudioInfo } from './types.js';
import { corruptFile, quietly } from './wasmDecoder.js';

/** Bytes read at once. */
const SLICE_BYTES = 2 ** 16;
/** Frames decoded at once: at most some megabytes of samples. */
const FRAMES_AT_ONCE = 16;
/** `fLaC`, a block header and the STREAMINFO block, which always comes first. */
export const FLAC_HEADER_BYTES = 4 + 4 + 34;

/** A walk over more metadata blocks than this is a walk through noise. */
export const MAX_METADATA_BLOCKS = 1000;

export interface FlacInfo extends AudioInfo {
  format: 'flac';
  bitsPerSample: number;
  /** Samples of a frame of one channel; where frames are numbered, all but the last have as many. */
  maxBlockSize: number;
  /** 0: unknown. */
  maxFrameBytes: number;
}

function corrupt(path: string, what: string, cause?: unknown): EmoframeError {
  return corruptFile('FLAC', path)(what, cause);
}

/** The STREAMINFO block. Throws `ERR_AUDIO`. */
export async function readFlacInfo(handle: FileHandle, path: string): Promise<FlacInfo> {
  const header = Buffer.alloc(FLAC_HEADER_BYTES);
  const { bytesRead } = await handle.read(header, 0, FLAC_HEADER_BYTES, 0);
  return parseFlacInfo(header.subarray(0, bytesRead), path);
}

/** The same of a file's first bytes. */
export function parseFlacInfo(header: Buffer, path: string): FlacInfo {
  if (header.length < FLAC_HEADER_BYTES || (header[4] & 0x7f) !== 0 || header.readUIntBE(5, 3) !== 34) {
    throw corrupt(path, 'it does not start with a STREAMINFO block');
  }
  // 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of samples.
  const high = header.readUInt32BE(18);
  const frameCount = (high & 0xf) * 2 ** 32 + header.readUInt32BE(22);
  const info: FlacInfo = {
    format: 'flac',
    sampleRate: high >>> 12,
    channelCount: ((high >>> 9) & 7) + 1,
    bitsPerSample: ((high >>> 4) & 31) + 1,
    maxBlockSize: header.readUInt16BE(10),
    maxFrameBytes: header.readUIntBE(15, 3),
  };
  // Zero means unknown.
  return frameCount === 0 ? info : { ...info, frameCount };
}

/** A file's bytes in order, from `start` on. */
export async function* readSlices(handle: FileHandle, start = 0): AsyncGenerator<Uint8Array> {
  for (let position = start; ; ) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(SLICE_BYTES), 0, SLICE_BYTES, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** A file's bytes in order, or those of its header and of what comes from `start` on, which must be a frame. */
export async function* readFlacSlices(handle: FileHandle, start = 0): AsyncGenerator<Uint8Array> {
  if (start > 0) {
    const header = Buffer.alloc(FLAC_HEADER_BYTES);
    await handle.read(header, 0, FLAC_HEADER_BYTES, 0);
    // No metadata follows.
    header[4]! |= 0x80;
    yield header;
  }
  yield* readSlices(handle, start);
}

// Its start costs more than decoding an utterance, so a decoder that ended well waits for more work.
const idle: FLACDecoder[] = [];
const KEPT_DECODERS = 2;

/**
 * Decodes the bytes of a FLAC file, from its first one on, to ±1, scaled by 2^(1 - bits), block by block.
 *
 * @throws `ERR_AUDIO` where the file is damaged, or holds fewer or more samples than it announces
 */
export async function* decodeFlac(
  bytes: AsyncIterable<Uint8Array>,
  info: FlacInfo,
  path: string,
): AsyncGenerator<Float32Array[]> {
  const decoder = idle.pop() ?? new FLACDecoder();
  await decoder.ready;
  let frames = 0;
  let broken = false;
  try {
    const reader = new ByteReader(bytes, path);
    await skipMetadata(reader, path);
    for await (const parts of readFlacFrames(reader, info, (what) => corrupt(path, what))) {
      // What came out is counted between: a hostile file can unfold a thousandfold.
      for (let first = 0; first < parts.length; first += FRAMES_AT_ONCE) {
        const some = parts.slice(first, first + FRAMES_AT_ONCE);
        const block = accept(await decoded(path, () => decoder.decodeFrames(some)), frames);
        if (block !== undefined) yield block;
      }
    }
    if (frames === 0) throw corrupt(path, 'it holds no samples');
    if (info.frameCount !== undefined && frames !== info.frameCount) {
      throw corrupt(path, `it is damaged or cut short: ${info.frameCount} samples announced, ${frames} there`);
    }
  } catch (error) {
    broken = true;
    throw error;
  } finally {
    if (broken || idle.length >= KEPT_DECODERS) decoder.free();
    else {
      // It holds what it was told of this file.
      await decoder.reset();
      idle.push(decoder);
    }
  }

  function accept(result: Decoded, before: number): Float32Array[] | undefined {
    const { channelData, samplesDecoded, sampleRate, errors } = result;
    if (errors.length > 0) throw corrupt(path, `${errors[0].message}, after ${before} samples`);
    if (samplesDecoded === 0) return undefined;
    if (channelData.length !== info.channelCount || sampleRate !== info.sampleRate) {
      throw corrupt(path, 'its channels or rate change midway');
    }
    frames += samplesDecoded;
    if (info.frameCount !== undefined && frames > info.frameCount) {
      throw corrupt(path, `it holds more than the ${info.frameCount} samples that it may`);
    }
    // The decoder divides by 2^(bits - 1) - 1; going back to the integers makes a FLAC file equal its WAV to the bit.
    const full = 2 ** (info.bitsPerSample - 1);
    return channelData.map((channel) => channel.map((value) => Math.round(value * (full - 1)) / full));
  }
}

async function skipMetadata(reader: ByteReader, path: string): Promise<void> {
  await reader.take(4);
  for (let block = 0; block < MAX_METADATA_BLOCKS; block++) {
    const head = await reader.take(4);
    if (head.length < 4) break;
    for (let left = head.readUIntBE(1, 3); left > 0; ) {
      const skipped = await reader.takeSome(left);
      if (skipped.length === 0) break;
      left -= skipped.length;
    }
    if (head[0]! & 0x80) return;
  }
  throw corrupt(path, 'its metadata do not end');
}

type Decoded = Awaited<ReturnType<FLACDecoder['decode']>>;

async function decoded(path: string, work: () => Promise<Decoded>): Promise<Decoded> {
  try {
    return await quietly(work);
  } catch (error) {
    throw corrupt(path, 'the decoder stopped', error);
  }
}
