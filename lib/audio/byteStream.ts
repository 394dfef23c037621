// Audio that comes as bytes rather than as a file with a name: an upload, a pipe, a socket. What lies before is decoded
// while the rest is still on its way, so nothing of it is kept.
import { EmoframeError } from '../errors.js';
import { ByteReader } from './byteReader.js';
import { checkFinite, checkRate, unknownFormat } from './decode.js';
import { decodeFlac, FLAC_HEADER_BYTES, parseFlacInfo } from './flac.js';
import { decodeMp3, isMp3, readMp3Info } from './mp3.js';
import { parseOggInfo, peekPage } from './ogg.js';
import { decodeOgg } from './oggDecode.js';
import type { DecodedAudio } from './types.js';
import { corruptWav, decodeFrames, MAX_CHUNKS, parseFormat, UNKNOWN_SIZE, type WavFormat } from './wav.js';

/** Samples without a header. */
export interface RawFormat {
  /** Signed 16-bit integers or 32-bit floats, little-endian; channels interleaved. */
  encoding: 's16le' | 'f32le';
  /** Samples a second, 1 000 to 192 000. */
  sampleRate: number;
  channels: number;
}

const BLOCK_BYTES = 2 ** 16;

/**
 * Decodes the bytes of a WAV, FLAC, MP3 or Ogg file, told by their content, or raw samples where `raw` says how they are written.
 *
 * @param name of the audio in errors
 * @throws as decodeFile; what the source throws comes as it is
 */
export async function* decodeBytes(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  raw?: RawFormat,
): AsyncGenerator<DecodedAudio> {
  const reader = new ByteReader(bytes, name);
  let position = 0;
  try {
    for await (const block of raw === undefined ? decodeContainer(reader, name) : decodeRaw(reader, raw, name)) {
      for (const channel of block.channels) checkFinite(channel, name, position);
      position += block.channels[0]!.length;
      yield block;
      // Decoding is done on this thread: others get their turn between blocks.
      await new Promise(setImmediate);
    }
  } finally {
    await reader.close();
  }
}

async function* decodeContainer(reader: ByteReader, name: string): AsyncGenerator<DecodedAudio> {
  const magic = (await reader.peek(12)).toString('latin1');
  if (magic.length === 0) throw new EmoframeError('ERR_AUDIO', `${name} is empty.`, { file: name });
  if (magic.startsWith('RIFF') && magic.endsWith('WAVE')) {
    yield* decodeWav(reader, name);
  } else if (magic.startsWith('fLaC')) {
    const info = parseFlacInfo(await reader.peek(FLAC_HEADER_BYTES), name);
    checkRate(info.sampleRate, name);
    for await (const channels of decodeFlac(reader.rest(), info, name)) yield { channels, sampleRate: info.sampleRate };
  } else if (magic.startsWith('OggS')) {
    const info = parseOggInfo(await peekPage(reader), name);
    checkRate(info.sampleRate, name);
    yield* decodeOgg(reader, info, name);
  } else if (isMp3(await reader.peek(4))) {
    const info = await readMp3Info(reader, name);
    checkRate(info.sampleRate, name);
    yield* decodeMp3(reader, info, name);
  } else {
    throw unknownFormat(name, 'Raw samples are read when format says how they are written.');
  }
}

async function* decodeWav(reader: ByteReader, name: string): AsyncGenerator<DecodedAudio> {
  await reader.take(12);
  let format: WavFormat | undefined;
  for (let chunk = 0; chunk < MAX_CHUNKS; chunk++) {
    const head = await reader.take(8);
    if (head.length < 8) break;
    const declared = head.readUInt32LE(4);
    const kind = head.toString('latin1', 0, 4);
    if (kind === 'data') {
      if (format === undefined) throw corruptWav(name, 'its samples come before their format');
      checkRate(format.sampleRate, name);
      return yield* decodeSamples(reader, format, declared, name);
    }
    let left = declared + (declared % 2);
    if (kind === 'fmt ') {
      const bytes = await reader.take(Math.min(declared, 40));
      format = parseFormat(bytes, name);
      left -= bytes.length;
    }
    while (left > 0) {
      const skipped = await reader.takeSome(left);
      if (skipped.length === 0) break;
      left -= skipped.length;
    }
  }
  throw corruptWav(name, `it has no "${format === undefined ? 'fmt ' : 'data'}" chunk`);
}

async function* decodeRaw(reader: ByteReader, raw: RawFormat, name: string): AsyncGenerator<DecodedAudio> {
  const written = raw.encoding === 's16le' ? ({ encoding: 'pcm' } as const) : ({ encoding: 'float' } as const);
  const bitsPerSample = raw.encoding === 's16le' ? 16 : 32;
  const format = { ...written, bitsPerSample, channelCount: raw.channels, sampleRate: raw.sampleRate };
  checkRate(raw.sampleRate, name);
  yield* decodeSamples(reader, format, UNKNOWN_SIZE, name);
}

/** Interleaved samples, `declared` bytes of them or, where that is unknown, all that come. */
async function* decodeSamples(
  reader: ByteReader,
  format: WavFormat,
  declared: number,
  name: string,
): AsyncGenerator<DecodedAudio> {
  const bytesPerFrame = (format.channelCount * format.bitsPerSample) / 8;
  const wanted = declared < UNKNOWN_SIZE ? declared - (declared % bytesPerFrame) : Infinity;
  let taken = 0;
  let part: Buffer = Buffer.alloc(0);
  while (taken < wanted) {
    const bytes = await reader.takeSome(Math.min(BLOCK_BYTES, wanted - taken));
    if (bytes.length === 0) break;
    taken += bytes.length;
    part = part.length === 0 ? bytes : Buffer.concat([part, bytes]);
    const whole = part.length - (part.length % bytesPerFrame);
    if (whole === 0) continue;
    yield { channels: decodeFrames(part.subarray(0, whole), format), sampleRate: format.sampleRate };
    part = part.subarray(whole);
  }
  if (taken < wanted && wanted !== Infinity) {
    throw corruptWav(name, `it is cut short: ${declared} bytes of samples announced, ${taken} there`);
  }
  if (taken < bytesPerFrame) throw corruptWav(name, 'it holds no samples');
}
