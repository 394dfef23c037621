// The frames of a FLAC stream. Their headers have no length: a frame ends where its checksum holds and the next one begins.
// They are found here, and not by the parser that comes with the decoder, as that one loses a last frame of under 14
// bytes, which is what silence at the end makes.
import type { ByteSource } from './byteSource.js';
import type { Corrupt } from './format.js';
import type { AudioInfo } from './types.js';

/** What the STREAMINFO block says. */
export interface FlacInfo extends AudioInfo {
  format: 'flac';
  bitsPerSample: number;
  /** Samples of a frame of one channel; where frames are numbered, all but the last have as many. */
  maxBlockSize: number;
  /** 0: unknown. */
  maxFrameBytes: number;
}

export interface FrameHeader {
  /** The frame's first sample, counted in one channel. */
  sample: number;
  blockSize: number;
}

/** Sync, codes, a number and a checksum. */
const SHORTEST_HEADER_BYTES = 4 + 1 + 1;
/** Sync, codes, a number of up to 7 bytes, two values of up to 2, a checksum. */
const LONGEST_HEADER_BYTES = 4 + 7 + 4 + 1;
/** A frame of 8 channels of 65 535 samples of 32 bits takes 2 MiB. */
const LARGEST_FRAME_BYTES = 2 ** 22;
const READ_BYTES = 2 ** 16;

/** The frames that follow the metadata, some at a time; what ends the stream and is no frame is damage. */
export async function* readFlacFrames(source: ByteSource, info: FlacInfo, corrupt: Corrupt): AsyncGenerator<Buffer[]> {
  let bytes: Buffer = Buffer.alloc(0);
  /** Of the frame at the start of `bytes`: how much of it was looked at, and the checksum of that. */
  let seen = 0;
  let crc = 0;
  let count = 0;
  for (let ended = false; !ended; ) {
    const more = await source.takeSome(READ_BYTES);
    ended = more.length === 0;
    bytes = bytes.length === 0 ? more : Buffer.concat([bytes, more]);
    const frames: Buffer[] = [];
    // The start of a header that is not all there yet waits for the rest.
    const kept = ended ? 0 : LONGEST_HEADER_BYTES;
    while (seen < bytes.length - kept) {
      if (seen === 0 && readFrameHeader(bytes, 0, info) === undefined) {
        throw corrupt(`it is damaged or cut short: there is no frame after frame ${count}`);
      }
      const end = findEnd(bytes.length - kept);
      if (end === undefined) break;
      frames.push(bytes.subarray(0, end));
      bytes = bytes.subarray(end);
      [seen, crc] = [0, 0];
      count++;
    }
    if (ended && bytes.length > 0) {
      if (crc !== 0) throw corrupt(`it is damaged or cut short: frame ${count + 1} is incomplete`);
      // Zeros may follow the last one.
      frames.push(bytes);
    }
    if (bytes.length > LARGEST_FRAME_BYTES) throw corrupt(`it is damaged: frame ${count + 1} has no end`);
    if (frames.length > 0) yield frames;
  }

  function findEnd(limit: number): number | undefined {
    for (; seen < limit; seen++) {
      if (crc === 0 && seen > 0 && bytes[seen] === 0xff && readFrameHeader(bytes, seen, info) !== undefined)
        return seen;
      crc = nextCrc16(crc, bytes[seen]!);
    }
    return undefined;
  }
}

/** The header of a frame, if that is what stands there. */
export function readFrameHeader(bytes: Buffer, at: number, info: FlacInfo): FrameHeader | undefined {
  if (at + SHORTEST_HEADER_BYTES > bytes.length) return undefined;
  if (bytes[at] !== 0xff || (bytes[at + 1]! & 0xfe) !== 0xf8) return undefined;
  const variable = (bytes[at + 1]! & 1) === 1;
  const sizeCode = bytes[at + 2]! >> 4;
  const rateCode = bytes[at + 2]! & 0xf;
  const channelCode = bytes[at + 3]! >> 4;
  const channels = channelCode < 8 ? channelCode + 1 : 2;
  if (sizeCode === 0 || rateCode === 15 || channelCode > 10 || (bytes[at + 3]! & 1) === 1) return undefined;
  if (channels !== info.channelCount) return undefined;
  const number = readNumber(bytes, at + 4);
  if (number === undefined) return undefined;
  let end = at + 4 + number.length;
  let blockSize: number;
  if (sizeCode === 6) blockSize = bytes[end++]! + 1;
  else if (sizeCode === 7) {
    // A checksum that lies beyond the bytes is none.
    blockSize = bytes[end]! * 256 + bytes[end + 1]! + 1;
    end += 2;
  } else if (sizeCode === 1) blockSize = 192;
  else blockSize = sizeCode < 6 ? 576 << (sizeCode - 2) : 256 << (sizeCode - 8);
  if (rateCode === 12) end += 1;
  else if (rateCode > 12) end += 2;
  if (crc8(bytes, at, end) !== bytes[end]) return undefined;
  const sample = variable ? number.value : number.value * info.maxBlockSize;
  return { sample, blockSize };
}

/** A number coded as UTF-8 codes characters, of up to 36 bits. */
function readNumber(bytes: Buffer, at: number): { value: number; length: number } | undefined {
  const lead = bytes[at]!;
  if (lead < 0x80) return { value: lead, length: 1 };
  const length = Math.clz32(~(lead << 24));
  if (length < 2 || length > 7) return undefined;
  let value = lead & (0x7f >> length);
  for (let i = 1; i < length; i++) {
    const next = bytes[at + i]!;
    if ((next & 0xc0) !== 0x80) return undefined;
    value = value * 64 + (next & 0x3f);
  }
  return { value, length };
}

const crc8Table = Uint8Array.from({ length: 256 }, (_, byte) => remainder(byte, 8, 0x07));
const crc16Table = Uint16Array.from({ length: 256 }, (_, byte) => remainder(byte << 8, 16, 0x8005));

/** What one byte at the top of the register becomes after eight steps of division. */
function remainder(value: number, bits: number, polynomial: number): number {
  let rest = value;
  for (let i = 0; i < 8; i++) rest = rest & (1 << (bits - 1)) ? (rest << 1) ^ polynomial : rest << 1;
  return rest & (2 ** bits - 1);
}

function crc8(bytes: Buffer, start: number, end: number): number {
  let crc = 0;
  for (let i = start; i < end; i++) crc = crc8Table[crc ^ bytes[i]!]!;
  return crc;
}

/** Of a whole frame, its own checksum included, it is 0. */
export function crc16(bytes: Buffer, start: number, end: number): number {
  let crc = 0;
  for (let i = start; i < end; i++) crc = nextCrc16(crc, bytes[i]!);
  return crc;
}

function nextCrc16(crc: number, byte: number): number {
  return ((crc << 8) & 0xffff) ^ crc16Table[(crc >> 8) ^ byte]!;
}
