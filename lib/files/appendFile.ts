import { closeSync, fsync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { EmoframeError } from '../errors.js';
import { writeError } from './atomic.js';

const fsyncLater = promisify(fsync);

/**
 * An open file that is only written at its end. Writes are synchronous: a record is some hundred bytes, handed to the
 * system before the call returns, so that a kill of the process loses nothing and records never change places.
 */
export class AppendFile {
  private descriptor: number | undefined;

  constructor(
    readonly path: string,
    descriptor: number,
  ) {
    this.descriptor = descriptor;
  }

  /** Errors: `ERR_WRITE`, `ERR_DISPOSED` after `close`. */
  append(bytes: Uint8Array): void {
    if (this.descriptor === undefined) {
      throw new EmoframeError('ERR_DISPOSED', `The log ${this.path} is closed; open it again to write.`, {
        file: this.path,
      });
    }
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.descriptor, bytes, done);
    } catch (error) {
      throw writeError(this.path, error);
    }
  }

  /** Forces everything to disk, which may take as long as the disk is busy. Errors: `ERR_WRITE`. */
  async sync(): Promise<void> {
    if (this.descriptor !== undefined) await this.force(this.descriptor);
  }

  /** Forces everything to disk and closes; a second call does nothing. Errors: `ERR_WRITE`. */
  async close(): Promise<void> {
    if (this.descriptor === undefined) return;
    const descriptor = this.descriptor;
    this.descriptor = undefined;
    try {
      await this.force(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }

  private async force(descriptor: number): Promise<void> {
    try {
      await fsyncLater(descriptor);
    } catch (error) {
      throw writeError(this.path, error);
    }
  }
}
