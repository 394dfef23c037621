// MP3. Frames are walked here, one header to the next, so that a file that is damaged or cut short is an error: decoders
// step over what they cannot read. The encoder's delay and padding are taken off where the file says how much they are, as other
// programs do, so that what comes out has the length of what was encoded.
import { MPEGDecoder } from 'mpg123-decoder';
import { EmoframeError } from '../errors.js';
import type { ByteSource } from './byteSource.js';
import { type AudioFormat, blocksFrom, corruptFile } from './format.js';
import type { AudioInfo } from './types.js';
import { channelsOf } from './wasmDecoder.js';

interface Mp3Info extends AudioInfo {
  format: 'mp3';
  /** Samples of one channel in a frame. */
  frameSamples: number;
  /** Samples before the sound: the encoder's delay and the decoder's. */
  skipped: number;
  /** Frames of sound, where the file says. */
  frames?: number;
}

interface FrameHeader {
  bytes: number;
  samples: number;
  sampleRate: number;
  channelCount: number;
  /** Where the side information ends. */
  dataOffset: number;
}

/** By which a decoder of this kind is late. */
const DECODER_DELAY = 529;
/** Frames decoded at once: some seconds. */
const BATCH_FRAMES = 64;
const bitRates = {
  1: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
} as const;
const sampleRates = [44_100, 48_000, 32_000] as const;

const corrupt = (name: string) => corruptFile('MP3', name);

export const mp3: AudioFormat = {
  matches: (start) => start.toString('latin1', 0, 3) === 'ID3' || readHeader(start) !== undefined,
  async open(source) {
    const info = await readInfo(source, source.name);
    return { info, blocks: () => blocksFrom(0, decode(source, info, source.name)) };
  },
};

/** Takes everything before the sound: tags, and the frame that describes the others. */
async function readInfo(source: ByteSource, name: string): Promise<Mp3Info> {
  await skipTags(source, name);
  const start = await source.peek(4);
  const header = readHeader(start);
  if (header === undefined) throw notAFrame(start, name, 'where its audio should begin');
  const { samples: frameSamples, sampleRate, channelCount } = header;
  const info: Mp3Info = { format: 'mp3', sampleRate, channelCount, frameSamples, skipped: 0 };
  const description = readDescription(await source.peek(header.bytes), header);
  if (description === undefined) return info;
  await source.take(header.bytes);
  const { frames, delay, padding } = description;
  if (frames === undefined) return info;
  const skipped = delay === undefined ? 0 : delay + DECODER_DELAY;
  const cut = delay === undefined ? 0 : Math.max(0, padding - DECODER_DELAY);
  const sampleCount = frames * frameSamples - skipped - cut;
  if (sampleCount <= 0) throw corrupt(name)('it holds no samples');
  return { ...info, frames, skipped, sampleCount };
}

/** Decodes what follows `readInfo`. */
async function* decode(source: ByteSource, info: Mp3Info, name: string): AsyncGenerator<Float32Array[]> {
  const { channelCount, frameSamples, skipped, sampleCount } = info;
  const decoder = new MPEGDecoder({ enableGapless: false });
  await decoder.ready;
  let frames = 0;
  let decoded = 0;
  try {
    for (;;) {
      const batch = await takeFrames(source, info, frames, name);
      if (batch.length === 0) break;
      frames += batch.length;
      if (info.frames !== undefined && frames > info.frames) {
        throw corrupt(name)(`it holds more than the ${info.frames} frames that its header promises`);
      }
      const channels = (await channelsOf(() => decoder.decode(Buffer.concat(batch)), corrupt(name))).slice(
        0,
        channelCount,
      );
      if (channels.length === 0) continue;
      const from = Math.max(skipped - decoded, 0);
      const to = sampleCount === undefined ? undefined : Math.max(skipped + sampleCount - decoded, 0);
      decoded += channels[0]!.length;
      const sound = channels.map((channel) => channel.subarray(from, to));
      if (sound[0]!.length > 0) yield sound;
    }
    if (frames === 0) throw corrupt(name)('it holds no samples');
    if (info.frames !== undefined && frames < info.frames) {
      throw corrupt(name)(`it is cut short: its header promises ${info.frames} frames, ${frames} were found`);
    }
    if (decoded !== frames * frameSamples) {
      throw corrupt(name)(`${frames * frameSamples - decoded} of its samples cannot be decoded`);
    }
  } finally {
    decoder.free();
  }
}

/** The next frames, whole ones; none at the end of the sound. */
async function takeFrames(source: ByteSource, info: Mp3Info, before: number, name: string): Promise<Buffer[]> {
  const batch: Buffer[] = [];
  while (batch.length < BATCH_FRAMES) {
    const start = await source.peek(4);
    if (start.length === 0 || isTrailer(start)) break;
    const header = readHeader(start);
    if (header === undefined) throw notAFrame(start, name, `after frame ${before + batch.length}`);
    if (header.sampleRate !== info.sampleRate || header.channelCount !== info.channelCount) {
      throw corrupt(name)(`its channels or rate change at frame ${before + batch.length + 1}`);
    }
    const frame = await source.take(header.bytes);
    if (frame.length < header.bytes) throw corrupt(name)(`it is cut short inside frame ${before + batch.length + 1}`);
    batch.push(frame);
  }
  return batch;
}

/** Tags of various kinds, and zeros, may follow the sound. */
function isTrailer(start: Buffer): boolean {
  return ['TAG', 'APE', 'LYR', 'ID3', '\0\0\0'].includes(start.toString('latin1', 0, 3));
}

async function skipTags(source: ByteSource, name: string): Promise<void> {
  for (;;) {
    const head = await source.peek(10);
    if (head.toString('latin1', 0, 3) !== 'ID3') return;
    if (head.length < 10) throw corrupt(name)('it ends inside its tags');
    // Seven bits a byte; a footer is as long as the header.
    const size = head.subarray(6).reduce((sum, byte) => sum * 128 + (byte & 0x7f), 0) + (head[5]! & 0x10 ? 20 : 10);
    if (!(await source.skip(size))) throw corrupt(name)('it ends inside its tags');
  }
}

function notAFrame(start: Buffer, name: string, where: string): EmoframeError {
  if (start.length === 4 && start[0] === 0xff && (start[1]! & 0xe0) === 0xe0) {
    const layer = (start[1]! >> 1) & 3;
    if (layer !== 1 || start[2]! >> 4 === 0) {
      const kind =
        layer === 1 ? 'of free bit rate' : `MPEG audio of layer ${layer === 3 ? 1 : layer === 2 ? 2 : 'unknown'}`;
      return new EmoframeError(
        'ERR_AUDIO_FORMAT',
        `${name} is ${kind}; only layer 3 of MPEG audio (MP3) is supported. Convert it.`,
        {
          file: name,
        },
      );
    }
  }
  return corrupt(name)(`there is no frame ${where}`);
}

/** The header of a frame of layer 3 whose length follows from it. */
function readHeader(start: Buffer): FrameHeader | undefined {
  if (start.length < 4) return undefined;
  const [sync, kind, rates, mode] = [start[0]!, start[1]!, start[2]!, start[3]!];
  if (sync !== 0xff || (kind & 0xe0) !== 0xe0) return undefined;
  // 0: MPEG 2.5, 2: MPEG 2, 3: MPEG 1.
  const version = (kind >> 3) & 3;
  const rateIndex = (rates >> 2) & 3;
  const bitRate = bitRates[version === 3 ? 1 : 2][rates >> 4];
  if (version === 1 || ((kind >> 1) & 3) !== 1 || rateIndex === 3 || !bitRate) return undefined;
  const sampleRate = sampleRates[rateIndex]! / (version === 3 ? 1 : version === 2 ? 2 : 4);
  const samples = version === 3 ? 1152 : 576;
  const channelCount = mode >> 6 === 3 ? 1 : 2;
  const bytes = Math.floor(((samples / 8) * 1000 * bitRate) / sampleRate) + ((rates >> 1) & 1);
  const sideBytes = version === 3 ? (channelCount === 1 ? 17 : 32) : channelCount === 1 ? 9 : 17;
  return { bytes, samples, sampleRate, channelCount, dataOffset: 4 + sideBytes };
}

/** What the first frame says of the others, if that is its purpose. */
function readDescription(
  frame: Buffer,
  { dataOffset }: FrameHeader,
): { frames?: number; delay?: number; padding: number } | undefined {
  const at = (offset: number, length: number) => frame.toString('latin1', offset, offset + length);
  // Fraunhofer's, always at the same place; it does not say the delay.
  if (at(36, 4) === 'VBRI' && frame.length >= 54) return { frames: frame.readUInt32BE(50), padding: 0 };
  if (!['Xing', 'Info'].includes(at(dataOffset, 4)) || frame.length < dataOffset + 8) return undefined;
  const flags = frame.readUInt32BE(dataOffset + 4);
  let offset = dataOffset + 8;
  const hasFrames = (flags & 1) === 1 && frame.length >= offset + 4;
  const frames = hasFrames ? { frames: frame.readUInt32BE(offset) } : {};
  offset += 4 * (flags & 1) + 4 * ((flags >> 1) & 1) + 100 * ((flags >> 2) & 1) + 4 * ((flags >> 3) & 1);
  // The encoder's name, and 21 bytes on two numbers of 12 bits.
  if (frame.length < offset + 24 || !/^[\x20-\x7e]{4}/.test(at(offset, 4))) return { ...frames, padding: 0 };
  const both = frame.readUIntBE(offset + 21, 3);
  return { ...frames, delay: both >> 12, padding: both & 0xfff };
}
