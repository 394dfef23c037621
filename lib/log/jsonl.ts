import { fstatSync, readSync } from 'node:fs';
import { AppendFile } from '../files/appendFile.js';
import { writeFileAtomic } from '../files/atomic.js';
import { readText } from '../files/read.js';
import { asJson } from '../quote.js';

/** Where the complete lines end. Bytes after the last newline are a line that a kill cut short. */
function endOfWholeLines(descriptor: number): number {
  const block = new Uint8Array(65536);
  for (let end = fstatSync(descriptor).size; end > 0; ) {
    const start = Math.max(0, end - block.length);
    let length = 0;
    // One call may give fewer bytes than there are.
    for (let more = 1; more > 0 && length < end - start; length += more) {
      more = readSync(descriptor, block, length, end - start - length, start + length);
    }
    const newline = block.subarray(0, length).lastIndexOf(0x0a);
    if (newline >= 0) return start + newline + 1;
    end = start;
  }
  return 0;
}

/** Bytes; more do not fit into a string. */
const longestText = 2 ** 29;

type Row = Record<string, unknown>;

function parseRow(line: string): Row | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Row) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A log of one JSON object a line.
 *
 * @example
 * const log = JsonlLog.open('run/log.jsonl');
 * log.write({ step: 1, loss: 4.61 });
 * await log.close();
 */
export class JsonlLog {
  private constructor(private file: AppendFile) {}

  /**
   * Opens a log to append to it, or begins it. A last line that a kill cut short is removed. Missing parent directories
   * are made. Errors: `ERR_WRITE`.
   */
  static open(path: string): JsonlLog {
    return new JsonlLog(AppendFile.open(path, endOfWholeLines));
  }

  /**
   * Appends the record as it is; the system has it when the call returns. NaN and infinities become null, as JSON has no
   * others. Errors: `ERR_WRITE`, `ERR_DISPOSED` after `close`.
   */
  write(record: Row): void {
    this.file.append(new TextEncoder().encode(`${asJson(record)}\n`));
  }

  /**
   * Removes records for which `keep` is false, and lines that are no records, as a power cut may leave them. A crash leaves the
   * log as it was before or as it is after. Nothing may be written before the promise is fulfilled. Errors: `ERR_READ`,
   * `ERR_WRITE`.
   */
  async retain(keep: (record: Row) => boolean): Promise<void> {
    const { path } = this.file;
    const text = await readText(path, longestText);
    const lines = text.split('\n').slice(0, -1);
    const kept = lines.filter((line) => {
      const record = parseRow(line);
      return record !== undefined && keep(record);
    });
    if (kept.length === lines.length) return;
    await writeFileAtomic(path, kept.map((line) => `${line}\n`).join(''));
    await this.file.close();
    this.file = AppendFile.open(path, endOfWholeLines);
  }

  /** Forces to disk what was written. Errors: `ERR_WRITE`. */
  sync(): Promise<void> {
    return this.file.sync();
  }

  /** Forces the log to disk and closes it; a second call does nothing. Errors: `ERR_WRITE`. */
  close(): Promise<void> {
    return this.file.close();
  }
}
