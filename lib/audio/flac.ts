import { FLACDecoder } from '@wasm-audio-decoders/flac';
import type { ByteSource } from './byteSource.js';
import { type FlacInfo, readFlacFrames } from './flacFrames.js';
import { findFlacFrame } from './flacSeek.js';
import { type AudioFormat, type Block, blocksFrom, type Corrupt, corruptFile } from './format.js';
import { answerOf } from './wasmDecoder.js';

/** Frames decoded at once: at most some megabytes of samples. */
const FRAMES_AT_ONCE = 16;
/** `fLaC`, a block header and the STREAMINFO block, which always comes first. */
const HEADER_BYTES = 4 + 4 + 34;

/** A walk over more metadata blocks than this is a walk through noise. */
const MAX_METADATA_BLOCKS = 1000;

export const flac: AudioFormat = {
  matches: (start) => start.toString('latin1', 0, 4) === 'fLaC',
  async open(source) {
    const corrupt = corruptFile('FLAC', source.name);
    const header = await source.take(HEADER_BYTES);
    const info = parseInfo(header, corrupt);
    if ((header[4]! & 0x80) === 0) await skipMetadata(source, corrupt);
    const firstFrame = source.position;
    async function* blocks(start: number): AsyncGenerator<Block> {
      const from =
        start > 0 && source.size !== undefined ? await findFlacFrame(source, firstFrame, info, start) : undefined;
      if (from !== undefined) source.seek(from.position);
      const first = from?.sample ?? 0;
      yield* blocksFrom(first, decodeFrames(source, info, first, corrupt));
    }
    return { info, blocks };
  },
};

/** The STREAMINFO block. */
function parseInfo(header: Buffer, corrupt: Corrupt): FlacInfo {
  if (header.length < HEADER_BYTES || (header[4]! & 0x7f) !== 0 || header.readUIntBE(5, 3) !== 34) {
    throw corrupt('it does not start with a STREAMINFO block');
  }
  // 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of samples.
  const high = header.readUInt32BE(18);
  const sampleCount = (high & 0xf) * 2 ** 32 + header.readUInt32BE(22);
  const info: FlacInfo = {
    format: 'flac',
    sampleRate: high >>> 12,
    channelCount: ((high >>> 9) & 7) + 1,
    bitsPerSample: ((high >>> 4) & 31) + 1,
    maxBlockSize: header.readUInt16BE(10),
    maxFrameBytes: header.readUIntBE(15, 3),
  };
  // Zero means unknown.
  return sampleCount === 0 ? info : { ...info, sampleCount };
}

// Its start costs more than decoding an utterance, so a decoder that ended well waits for more work.
const idle: FLACDecoder[] = [];
const KEPT_DECODERS = 2;

/**
 * Decodes the frames that come, the first of which begins at a sample, to ±1, scaled by 2^(1 - bits), block by block.
 *
 * @throws `ERR_AUDIO` where the file is damaged, or holds fewer or more samples than it announces
 */
async function* decodeFrames(
  source: ByteSource,
  info: FlacInfo,
  first: number,
  corrupt: Corrupt,
): AsyncGenerator<Float32Array[]> {
  const decoder = idle.pop() ?? new FLACDecoder();
  await decoder.ready;
  const announced = info.sampleCount === undefined ? undefined : info.sampleCount - first;
  let frames = 0;
  let broken = false;
  try {
    for await (const parts of readFlacFrames(source, info, corrupt)) {
      // What came out is counted between: a hostile file can unfold a thousandfold.
      for (let i = 0; i < parts.length; i += FRAMES_AT_ONCE) {
        const some = parts.slice(i, i + FRAMES_AT_ONCE);
        const block = accept(await answerOf(() => decoder.decodeFrames(some), corrupt), frames);
        if (block !== undefined) yield block;
      }
    }
    if (frames === 0) throw corrupt('it holds no samples');
    if (announced !== undefined && frames !== announced) {
      throw corrupt(`it is damaged or cut short: its header promises ${announced} samples, ${frames} were found`);
    }
  } catch (error) {
    broken = true;
    throw error;
  } finally {
    if (broken || idle.length >= KEPT_DECODERS) decoder.free();
    else {
      // It holds what it has learnt of this file.
      await decoder.reset();
      idle.push(decoder);
    }
  }

  function accept(result: Decoded, before: number): Float32Array[] | undefined {
    const { channelData, samplesDecoded, sampleRate, errors } = result;
    if (errors.length > 0) throw corrupt(`${errors[0]!.message}, after ${before} samples`);
    if (samplesDecoded === 0) return undefined;
    if (channelData.length !== info.channelCount || sampleRate !== info.sampleRate) {
      throw corrupt('its channels or rate change midway');
    }
    frames += samplesDecoded;
    if (announced !== undefined && frames > announced) {
      throw corrupt(`it holds more than the ${announced} samples that its header promises`);
    }
    // The decoder divides by 2^(bits - 1) - 1; going back to the integers makes a FLAC file equal its WAV to the bit.
    const full = 2 ** (info.bitsPerSample - 1);
    return channelData.map((channel) => channel.map((value) => Math.round(value * (full - 1)) / full));
  }
}

async function skipMetadata(source: ByteSource, corrupt: Corrupt): Promise<void> {
  for (let block = 1; block < MAX_METADATA_BLOCKS; block++) {
    const head = await source.take(4);
    if (head.length < 4) break;
    await source.skip(head.readUIntBE(1, 3));
    if (head[0]! & 0x80) return;
  }
  throw corrupt('its metadata has no end');
}

type Decoded = Awaited<ReturnType<FLACDecoder['decode']>>;
