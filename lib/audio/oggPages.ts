// Ogg: pages with a checksum, a number and a position each, in which the packets of Opus and Vorbis lie. A page that is
// damaged, missing or not the last where the file ends is an error here; the decoders would step over it.
import { EmoframeError } from '../errors.js';
import type { ByteSource } from './byteSource.js';
import { corruptFile } from './format.js';
import type { AudioInfo } from './types.js';

export interface OggInfo extends AudioInfo {
  format: 'opus' | 'vorbis';
  /** Samples before the sound, at the file's rate. */
  skipped: number;
}

export interface OggPage {
  /** All of it. */
  bytes: Buffer;
  body: Buffer;
  /** Lengths of the segments that it holds: one under 255 ends a packet. */
  lacing: Buffer;
  serial: number;
  /** Samples up to the end of the last packet that ends here; negative where none does. */
  position: number;
  first: boolean;
  last: boolean;
}

const HEADER_BYTES = 27;
const LARGEST_PAGE_BYTES = HEADER_BYTES + 255 + 255 * 255;
/** Comments may hold a picture. */
const LARGEST_PACKET_BYTES = 2 ** 24;
const FIRST = 2;
const LAST = 4;

const corrupt = (name: string) => corruptFile('Ogg', name);

/** The pages of a stream, from its first to its last, in order and each whole. Throws `ERR_AUDIO`, `ERR_AUDIO_FORMAT`. */
export async function* readPages(source: ByteSource, name: string): AsyncGenerator<OggPage> {
  let serial: number | undefined;
  for (let sequence = 0; ; sequence++) {
    const page = parsePage(await peekPage(source));
    if (page === undefined) {
      const left = (await source.peek(1)).length;
      throw corrupt(name)(
        left === 0
          ? `it is cut short: it ends after page ${sequence}, which is not the last`
          : `page ${sequence + 1} is damaged`,
      );
    }
    serial ??= page.serial;
    if (page.serial !== serial) throw severalStreams(name);
    if (page.bytes.readUInt32LE(18) !== sequence) throw corrupt(name)(`page ${sequence + 1} is missing`);
    await source.take(page.bytes.length);
    yield page;
    if (!page.last) continue;
    if ((await source.peek(1)).length > 0) throw severalStreams(name);
    return;
  }
}

/** As many bytes as the page that comes says that it has: no more, as they may be long in coming. */
async function peekPage(source: ByteSource): Promise<Buffer> {
  const head = await source.peek(HEADER_BYTES);
  if (head.length < HEADER_BYTES) return head;
  const lacing = (await source.peek(HEADER_BYTES + head[26]!)).subarray(HEADER_BYTES);
  return source.peek(HEADER_BYTES + head[26]! + lacing.reduce((sum, segment) => sum + segment, 0));
}

function severalStreams(name: string): EmoframeError {
  return new EmoframeError(
    'ERR_AUDIO_FORMAT',
    `${name} holds more than one Ogg stream; one of Opus or Vorbis is supported. Convert it, e.g. with ffmpeg.`,
    { file: name },
  );
}

/** The packets of pages, with the page on which they end. */
export async function* readPackets(
  pages: AsyncIterable<OggPage>,
  name: string,
): AsyncGenerator<{ page: OggPage; packets: Buffer[] }> {
  let begun: Buffer[] = [];
  let begunBytes = 0;
  for await (const page of pages) {
    const packets: Buffer[] = [];
    let at = 0;
    for (const length of page.lacing) {
      begun.push(page.body.subarray(at, at + length));
      begunBytes += length;
      at += length;
      if (begunBytes > LARGEST_PACKET_BYTES) throw corrupt(name)('a packet is larger than 16 MiB');
      if (length === 255) continue;
      packets.push(begun.length === 1 ? begun[0]! : Buffer.concat(begun));
      begun = [];
      begunBytes = 0;
    }
    yield { page, packets };
  }
}

/**
 * What the first page says and, where it can be read before its turn, the last one.
 *
 * @throws `ERR_AUDIO`, `ERR_AUDIO_FORMAT`
 */
export async function readOggInfo(source: ByteSource): Promise<OggInfo> {
  const info = parseOggInfo(await peekPage(source), source.name);
  if (source.size === undefined) return info;
  const tail = await source.readAt(Math.max(0, source.size - LARGEST_PAGE_BYTES), LARGEST_PAGE_BYTES);
  for (let at = tail.lastIndexOf('OggS'); at >= 0; at = at === 0 ? -1 : tail.lastIndexOf('OggS', at - 1)) {
    const page = parsePage(tail.subarray(at));
    // A page within a page is chance.
    if (page === undefined || at + page.bytes.length !== tail.length) continue;
    const sampleCount = page.position - info.skipped;
    return page.last && sampleCount > 0 ? { ...info, sampleCount } : info;
  }
  return info;
}

/** What the first page says, at the start of `start`. */
function parseOggInfo(start: Buffer, name: string): OggInfo {
  const page = parsePage(start);
  if (page === undefined || !page.first) throw corrupt(name)('its first page is damaged');
  const { body } = page;
  if (body.toString('latin1', 0, 8) === 'OpusHead' && body.length >= 19) {
    // Opus is decoded at 48 kHz, whatever was encoded.
    return { format: 'opus', sampleRate: 48_000, channelCount: body[9]!, skipped: body.readUInt16LE(10) };
  }
  if (body.toString('latin1', 0, 7) === '\x01vorbis' && body.length >= 30) {
    return { format: 'vorbis', sampleRate: body.readUInt32LE(12), channelCount: body[11]!, skipped: 0 };
  }
  throw new EmoframeError(
    'ERR_AUDIO_FORMAT',
    `${name} is an Ogg file that holds neither Opus nor Vorbis; these two are supported. Convert it, e.g. with ffmpeg.`,
    { file: name },
  );
}

/** The page at the start of `bytes`, if a whole one stands there. */
function parsePage(bytes: Buffer): OggPage | undefined {
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 4) !== 'OggS' || bytes[4] !== 0) return undefined;
  const bodyAt = HEADER_BYTES + bytes[26]!;
  const lacing = bytes.subarray(HEADER_BYTES, bodyAt);
  const length = bodyAt + lacing.reduce((sum, segment) => sum + segment, 0);
  if (bytes.length < length) return undefined;
  const page = bytes.subarray(0, length);
  if (checksum(page) !== page.readUInt32LE(22)) return undefined;
  const flags = page[5]!;
  return {
    bytes: page,
    body: page.subarray(bodyAt),
    lacing,
    serial: page.readUInt32LE(14),
    position: Number(page.readBigInt64LE(6)),
    first: (flags & FIRST) !== 0,
    last: (flags & LAST) !== 0,
  };
}

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte << 24;
  for (let i = 0; i < 8; i++) rest = rest & 0x80000000 ? (rest << 1) ^ 0x04c11db7 : rest << 1;
  return rest;
});

/** Ogg's own CRC-32: not reflected, and over the page with zeros in the checksum's place. */
function checksum(page: Buffer): number {
  let crc = 0;
  for (let i = 0; i < page.length; i++) {
    const byte = i >= 22 && i < 26 ? 0 : page[i]!;
    crc = (crc << 8) ^ table[(crc >>> 24) ^ byte]!;
  }
  return crc >>> 0;
}
