// A stretch of a long FLAC file without decoding what lies before it. Frames say where they stand and end in a checksum, so
// the file is halved between frames that prove themselves; that works with and without a seek table.
import type { FileHandle } from 'node:fs/promises';
import { type FlacInfo, MAX_METADATA_BLOCKS } from './flac.js';
import { crc16, type FrameHeader, readFrameHeader } from './flacFrames.js';

/** Where a frame starts. */
export interface FlacFrame {
  /** Byte in the file. */
  position: number;
  /** Its first sample, counted in one channel. */
  sample: number;
}

/** What is read at once in search of a frame, when the header does not tell how large frames are. */
const DEFAULT_WINDOW_BYTES = 2 ** 18;
const LARGEST_WINDOW_BYTES = 2 ** 23;

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
    if (header === undefined || (info.frameCount !== undefined && header.sample >= info.frameCount)) continue;
    const before = previous.find((one) => one.header.sample + one.header.blockSize === header.sample);
    if (before !== undefined && crc16(bytes, before.at, at) === 0) {
      return { position: position + before.at, sample: before.header.sample };
    }
    // Chance makes few headers whose own checksum holds; more than these are no FLAC.
    previous = [...previous.slice(-7), { at, header }];
  }
  return undefined;
}
