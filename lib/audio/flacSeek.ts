// A part of a long FLAC file without decoding what lies before it. Frames say where they stand and end in a checksum, so
// the file is halved between frames that prove themselves; that works with and without a seek table.
import type { ByteSource } from './byteSource.js';
import { crc16, type FlacInfo, type FrameHeader, readFrameHeader } from './flacFrames.js';

/** Where a frame starts. */
export interface FlacFrame {
  /** Byte in the file. */
  position: number;
  /** Its first sample, counted in one channel. */
  sample: number;
}

/** What is read at once in search of a frame, when the header does not say how large frames are. */
const DEFAULT_WINDOW_BYTES = 2 ** 18;
const LARGEST_WINDOW_BYTES = 2 ** 23;

/**
 * A frame at or before a sample, near enough to it that decoding the rest costs little; nothing where the first frame is
 * that, or the file's frames do not prove themselves.
 *
 * @param source a file or an array of bytes, whose first frame is at the byte `firstFrame`
 */
export async function findFlacFrame(
  source: ByteSource,
  firstFrame: number,
  info: FlacInfo,
  sample: number,
): Promise<FlacFrame | undefined> {
  const { maxFrameBytes } = info;
  const window = Math.min(maxFrameBytes === 0 ? DEFAULT_WINDOW_BYTES : 3 * maxFrameBytes, LARGEST_WINDOW_BYTES);
  let found: FlacFrame | undefined;
  let low = firstFrame;
  let high = source.size!;
  while (high - low > 2 * window) {
    const middle = Math.floor((low + high) / 2);
    const frame = await frameAfter(source, middle, window, info);
    if (frame === undefined || frame.sample > sample || frame.position >= high) high = middle;
    else {
      found = frame;
      low = frame.position;
    }
  }
  return found;
}

/** The first frame from a byte on that is followed, where its checksum says that it ends, by the one that comes next. */
async function frameAfter(
  source: ByteSource,
  position: number,
  window: number,
  info: FlacInfo,
): Promise<FlacFrame | undefined> {
  const bytes = await source.readAt(position, window);
  let previous: { at: number; header: FrameHeader }[] = [];
  for (let at = bytes.indexOf(0xff); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    const header = readFrameHeader(bytes, at, info);
    if (header === undefined || (info.sampleCount !== undefined && header.sample >= info.sampleCount)) continue;
    const before = previous.find((one) => one.header.sample + one.header.blockSize === header.sample);
    if (before !== undefined && crc16(bytes, before.at, at) === 0) {
      return { position: position + before.at, sample: before.header.sample };
    }
    // Chance makes few headers whose own checksum holds; more than these are no FLAC.
    previous = [...previous.slice(-7), { at, header }];
  }
  return undefined;
}
