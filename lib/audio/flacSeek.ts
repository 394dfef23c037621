// A stretch of a long FLAC file without decoding what lies before it. Frames say where they stand and end in a checksum, so
// the file is halved between frames that prove themselves; that works with and without a seek table.
import type { FileHandle } from 'node:fs/promises';
import { type FlacInfo, MAX_METADATA_BLOCKS } from './flac.js';

/** Where a frame starts. */
export interface FlacFrame {
  /** Byte in the file. */
  position: number;
  /** Its first sample, counted in one channel. */
  sample: number;
}

interface FrameHeader {
  sample: number;
  blockSize: number;
}

/** What is read at once in search of a frame, when the header does not tell how large frames are. */
const DEFAULT_WINDOW_BYTES = 2 ** 18;
const LARGEST_WINDOW_BYTES = 2 ** 23;
/** Sync, codes, a number of up to 7 bytes, two values of up to 2, a checksum. */
const LONGEST_HEADER_BYTES = 4 + 7 + 4 + 1;

/**
 * A frame at or before a sample, near enough to it that decoding the rest costs little; nothing where the first frame is
 * that, or the file's frames do not prove themselves.
 */
export async function findFlacFrame(
  handle: FileHandle,
  fileBytes: number,
  info: FlacInfo,
  sample: number,
): Promise<FlacFrame | undefined> {
  const first = await firstFrameAt(handle);
  if (first === undefined) return undefined;
  const { maxFrameBytes } = info;
  const window = Math.min(maxFrameBytes === 0 ? DEFAULT_WINDOW_BYTES : 3 * maxFrameBytes, LARGEST_WINDOW_BYTES);
  let found: FlacFrame | undefined;
  let low = first;
  let high = fileBytes;
  while (high - low > 2 * window) {
    const middle = Math.floor((low + high) / 2);
    const frame = await frameAfter(handle, middle, window, info);
    if (frame === undefined || frame.sample > sample || frame.position >= high) high = middle;
    else {
      found = frame;
      low = frame.position;
    }
  }
  return found;
}

/** The byte at which the metadata ends. */
async function firstFrameAt(handle: FileHandle): Promise<number | undefined> {
  const head = Buffer.alloc(4);
  let position = 4;
  for (let block = 0; block < MAX_METADATA_BLOCKS; block++) {
    const { bytesRead } = await handle.read(head, 0, 4, position);
    if (bytesRead < 4) return undefined;
    position += 4 + head.readUIntBE(1, 3);
    if (head[0]! & 0x80) return position;
  }
  return undefined;
}

/** The first frame from a byte on that is followed, where its checksum says that it ends, by the one that comes next. */
async function frameAfter(
  handle: FileHandle,
  position: number,
  window: number,
  info: FlacInfo,
): Promise<FlacFrame | undefined> {
  const buffer = Buffer.allocUnsafe(window);
  const { bytesRead } = await handle.read(buffer, 0, window, position);
  const bytes = buffer.subarray(0, bytesRead);
  let previous: { at: number; header: FrameHeader }[] = [];
  for (let at = bytes.indexOf(0xff); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    const header = readFrameHeader(bytes, at, info);
    if (header === undefined) continue;
    const before = previous.find((one) => one.header.sample + one.header.blockSize === header.sample);
    if (before !== undefined && crc16(bytes, before.at, at - 2) === bytes.readUInt16BE(at - 2)) {
      return { position: position + before.at, sample: before.header.sample };
    }
    // Chance makes few headers whose own checksum holds; more than these are no FLAC.
    previous = [...previous.slice(-7), { at, header }];
  }
  return undefined;
}

/** The header of a frame, if that is what stands there. */
function readFrameHeader(bytes: Buffer, at: number, info: FlacInfo): FrameHeader | undefined {
  if (at + LONGEST_HEADER_BYTES > bytes.length || bytes[at] !== 0xff || (bytes[at + 1]! & 0xfe) !== 0xf8)
    return undefined;
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
    blockSize = bytes.readUInt16BE(end) + 1;
    end += 2;
  } else if (sizeCode === 1) blockSize = 192;
  else blockSize = sizeCode < 6 ? 576 << (sizeCode - 2) : 256 << (sizeCode - 8);
  if (rateCode === 12) end += 1;
  else if (rateCode > 12) end += 2;
  if (crc8(bytes, at, end) !== bytes[end]) return undefined;
  const sample = variable ? number.value : number.value * info.maxBlockSize;
  if (info.frameCount !== undefined && sample >= info.frameCount) return undefined;
  return { sample, blockSize };
}

/** A number in the form of UTF-8, stretched to 36 bits. */
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

function crc16(bytes: Buffer, start: number, end: number): number {
  let crc = 0;
  for (let i = start; i < end; i++) crc = ((crc << 8) & 0xffff) ^ crc16Table[(crc >> 8) ^ bytes[i]!]!;
  return crc;
}
