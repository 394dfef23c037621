// TensorBoard's event files: TFRecord frames (length, masked CRC-32C of it, data, masked CRC-32C of it) that each hold an
// `Event` of tensorflow/core/util/event.proto. Only three kinds of Event with few fields are written, so their protobuf bytes are
// put together by hand.
import { join } from 'node:path';
import { AppendFile } from '../files/appendFile.js';
import { oneLine } from '../quote.js';
import { maskedCrc32c } from './crc32c.js';

/** A protobuf varint; values here are not negative. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return bytes;
}

const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
const key = (field: number, type: keyof typeof wire): number => (field << 3) | wire[type];

function bytesField(field: number, content: Uint8Array | number[]): number[] {
  return [key(field, 'bytes'), ...varint(content.length), ...content];
}

function doubleField(field: number, value: number): number[] {
  return [key(field, 'fixed64'), ...new Uint8Array(Float64Array.of(value).buffer)];
}

function floatField(field: number, value: number): number[] {
  return [key(field, 'fixed32'), ...new Uint8Array(Float32Array.of(value).buffer)];
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Event { wall_time = 1, file_version = 3 }: must come first in a file. */
function versionEvent(wallTime: number): Uint8Array {
  return Uint8Array.from([...doubleField(1, wallTime), ...bytesField(3, utf8('brain.Event:2'))]);
}

/** Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } } */
function scalarEvent(wallTime: number, step: number, tag: string, value: number): Uint8Array {
  const summary = bytesField(1, [...bytesField(1, utf8(tag)), ...floatField(2, value)]);
  return Uint8Array.from([...doubleField(1, wallTime), key(2, 'varint'), ...varint(step), ...bytesField(5, summary)]);
}

/**
 * Event { wall_time = 1, step = 2, session_log = 7 { status = 1: START } }: TensorBoard drops the points of earlier files of
 * the directory from `step` on.
 */
function restartEvent(wallTime: number, step: number): Uint8Array {
  const start = [key(1, 'varint'), 1];
  return Uint8Array.from([...doubleField(1, wallTime), key(2, 'varint'), ...varint(step), ...bytesField(7, start)]);
}

/** length u64, crc of length u32, data, crc of data u32 */
function frame(data: Uint8Array): Uint8Array {
  const framed = new Uint8Array(12 + data.length + 4);
  const view = new DataView(framed.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(framed.subarray(0, 8)), true);
  framed.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc32c(data), true);
  return framed;
}

let filesOpened = 0;

/**
 * Scalars for TensorBoard. Every `open` begins a file of its own; TensorBoard shows those of one directory as one run.
 *
 * @example
 * const board = TensorBoardLog.open('run/tensorboard/fold-1');
 * board.scalar('tapt/loss', 100, 4.61);
 * await board.close();
 */
export class TensorBoardLog {
  private constructor(private readonly file: AppendFile) {}

  /**
   * Begins an event file in `directory`, which is made when missing. With `firstStep`, TensorBoard drops the
   * points of earlier files there from that step on, of all curves: a resumed run writes them again. Errors: `ERR_WRITE`.
   */
  static open(directory: string, { firstStep }: { firstStep?: number } = {}): TensorBoardLog {
    const now = Date.now() / 1000;
    // TensorBoard reads files of a directory in the order of their names, so time comes first.
    const seconds = String(Math.floor(now)).padStart(10, '0');
    const prefix = join(directory, `events.out.tfevents.${seconds}.emoframe.${process.pid}`);
    const file = AppendFile.createFirst(() => `${prefix}.${String(filesOpened++).padStart(6, '0')}`);
    try {
      file.append(frame(versionEvent(now)));
      if (firstStep !== undefined) file.append(frame(restartEvent(now, firstStep)));
      return new TensorBoardLog(file);
    } catch (error) {
      file.close().catch(() => undefined);
      throw error;
    }
  }

  /**
   * Appends one point of the curve `tag`; the system has it when the call returns. `step` is a non-negative integer.
   * Errors: `ERR_WRITE`, `ERR_DISPOSED` after `close`.
   */
  scalar(tag: string, step: number, value: number): void {
    this.file.append(frame(scalarEvent(Date.now() / 1000, step, oneLine(tag), value)));
  }

  /** Forces to disk what was written. Errors: `ERR_WRITE`. */
  sync(): Promise<void> {
    return this.file.sync();
  }

  /** Forces the file to disk and closes it; a second call does nothing. Errors: `ERR_WRITE`. */
  close(): Promise<void> {
    return this.file.close();
  }
}
