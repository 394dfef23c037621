import type { FileHandle } from 'node:fs/promises';
import { FLACDecoder } from '@wasm-audio-decoders/flac';
import { EmoframeError } from '../errors.js';
import { MAX_COMPRESSED_BYTES, MAX_DECODED_SAMPLES } from './limits.js';
import type { AudioInfo } from './types.js';

/** Bytes handed to the decoder at once: a hostile file can unfold a thousandfold, so the total is checked between. */
const SLICE_BYTES = 2 ** 16;
/** `fLaC`, a block header and the STREAMINFO block, which always comes first. */
const HEADER_BYTES = 4 + 4 + 34;

export interface FlacInfo extends AudioInfo {
  format: 'flac';
  bitsPerSample: number;
}

function corrupt(path: string, what: string, cause?: unknown): EmoframeError {
  return new EmoframeError('ERR_AUDIO', `${path} is not a sound FLAC file: ${what}.`, { file: path, cause });
}

/** The STREAMINFO block. Throws `ERR_AUDIO`. */
export async function readFlacInfo(handle: FileHandle, path: string): Promise<FlacInfo> {
  const header = Buffer.alloc(HEADER_BYTES);
  const { bytesRead } = await handle.read(header, 0, HEADER_BYTES, 0);
  if (bytesRead < HEADER_BYTES || (header[4] & 0x7f) !== 0 || header.readUIntBE(5, 3) !== 34) {
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
  };
  // Zero means unknown.
  return frameCount === 0 ? info : { ...info, frameCount };
}

// One decoder a thread: its start costs more than decoding an utterance. Calls queue, for it holds one stream's state.
let decoder: FLACDecoder | undefined;
let lastCall: Promise<unknown> = Promise.resolve();

/** Decodes a whole FLAC file to ±1, scaled by 2^(1 - bits). Throws `ERR_AUDIO` and `ERR_AUDIO_LIMIT`. */
export function readFlacSamples(
  handle: FileHandle,
  info: FlacInfo,
  fileBytes: number,
  path: string,
): Promise<Float32Array[]> {
  const call = lastCall.then(async () => {
    checkLimits(info, fileBytes, path);
    const bytes = new Uint8Array(await handle.readFile());
    try {
      return await decodeAll(bytes, info, path);
    } catch (error) {
      decoder = undefined;
      throw error instanceof EmoframeError ? error : corrupt(path, 'the decoder stopped', error);
    }
  });
  lastCall = call.catch(() => undefined);
  return call;
}

function checkLimits(info: FlacInfo, fileBytes: number, path: string): void {
  const samples = (info.frameCount ?? 0) * info.channelCount;
  if (fileBytes <= MAX_COMPRESSED_BYTES && samples <= MAX_DECODED_SAMPLES) return;
  throw new EmoframeError(
    'ERR_AUDIO_LIMIT',
    `${path} is ${fileBytes} bytes and ${samples} samples long; a FLAC file is decoded whole and may have at most ` +
      `${MAX_COMPRESSED_BYTES} bytes and ${MAX_DECODED_SAMPLES} samples. Cut it, or convert it to WAV and give start and end times.`,
    { file: path },
  );
}

async function decodeAll(bytes: Uint8Array, info: FlacInfo, path: string): Promise<Float32Array[]> {
  decoder ??= new FLACDecoder();
  await decoder.ready;
  const { channelCount } = info;
  const mostFrames = info.frameCount ?? Math.floor(MAX_DECODED_SAMPLES / channelCount);
  const parts: Float32Array[][] = [];
  let frames = 0;
  for (let offset = 0; offset <= bytes.length; offset += SLICE_BYTES) {
    const flacDecoder = decoder;
    const last = offset + SLICE_BYTES > bytes.length;
    const slice = bytes.subarray(offset, offset + SLICE_BYTES);
    const results = [await quietly(() => flacDecoder.decode(slice))];
    if (last) results.push(await quietly(() => flacDecoder.flush()));
    for (const { channelData, samplesDecoded, sampleRate, errors } of results) {
      if (errors.length > 0) throw corrupt(path, `${errors[0].message}, after ${frames} samples`);
      if (samplesDecoded === 0) continue;
      if (channelData.length !== channelCount || sampleRate !== info.sampleRate) {
        throw corrupt(path, 'its channels or rate change midway');
      }
      parts.push(channelData);
      frames += samplesDecoded;
      if (frames > mostFrames) throw corrupt(path, `it holds more than the ${mostFrames} samples that it may`);
    }
  }
  if (frames === 0) throw corrupt(path, 'it holds no samples');
  if (info.frameCount !== undefined && frames !== info.frameCount) {
    throw corrupt(path, `it is damaged or cut short: ${info.frameCount} samples announced, ${frames} there`);
  }
  return Array.from({ length: channelCount }, (_, channel) => joinScaled(parts, channel, frames, info.bitsPerSample));
}

/** The decoder divides by 2^(bits - 1) - 1; going back to the integers makes a FLAC file equal its WAV to the bit. */
function joinScaled(parts: Float32Array[][], channel: number, frames: number, bitsPerSample: number): Float32Array {
  const full = 2 ** (bitsPerSample - 1);
  const output = new Float32Array(frames);
  let position = 0;
  for (const part of parts) {
    for (const value of part[channel]) output[position++] = Math.round(value * (full - 1)) / full;
  }
  return output;
}

/** The decoder prints its errors besides returning them; ours are thrown. All its work is done before it first waits. */
function quietly<Result>(work: () => Promise<Result>): Promise<Result> {
  const print = console.error;
  console.error = () => undefined;
  try {
    return work();
  } finally {
    console.error = print;
  }
}
