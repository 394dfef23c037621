import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeError } from '../checkpoint/atomic.js';
import { AppendFile } from './appendFile.js';

/** Bytes after the last newline are a line that a kill cut short: where the whole lines end. */
function endOfWholeLines(descriptor: number): number {
  const piece = new Uint8Array(65536);
  for (let end = fstatSync(descriptor).size; end > 0; ) {
    const start = Math.max(0, end - piece.length);
    const length = readSync(descriptor, piece, 0, end - start, start);
    const newline = piece.subarray(0, length).lastIndexOf(0x0a);
    if (newline >= 0) return start + newline + 1;
    end = start;
  }
  return 0;
}

/**
 * A log of one JSON object a line.
 *
 * @example
 * const log = JsonlLog.open('run/log.jsonl');
 * log.write({ step: 1, loss: 4.61 });
 * log.close();
 */
export class JsonlLog {
  private constructor(private readonly file: AppendFile) {}

  /**
   * Opens a log to go on at its end, or begins it. A last line that a kill cut short is removed. Missing parent directories
   * are made. Errors: `ERR_WRITE`.
   */
  static open(path: string): JsonlLog {
    let descriptor: number | undefined;
    try {
      mkdirSync(dirname(path), { recursive: true });
      descriptor = openSync(path, 'a+');
      ftruncateSync(descriptor, endOfWholeLines(descriptor));
      return new JsonlLog(new AppendFile(path, descriptor));
    } catch (error) {
      if (descriptor !== undefined) closeSync(descriptor);
      throw writeError(path, error);
    }
  }

  /**
   * Appends the record as it is; the system has it when the call returns. NaN and infinities become null, as JSON has no
   * others. Errors: `ERR_WRITE`, `ERR_DISPOSED` after `close`.
   */
  write(record: Record<string, unknown>): void {
    this.file.append(new TextEncoder().encode(`${JSON.stringify(record)}\n`));
  }

  /** Forces the log to disk and closes it; a second call does nothing. Errors: `ERR_WRITE`. */
  close(): void {
    this.file.close();
  }
}
