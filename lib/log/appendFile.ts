import { closeSync, fsyncSync, writeSync } from 'node:fs';
import { writeError } from '../checkpoint/atomic.js';
import { EmoframeError } from '../errors.js';

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

  /** Forces everything to disk. Errors: `ERR_WRITE`. */
  sync(): void {
    if (this.descriptor === undefined) return;
    try {
      fsyncSync(this.descriptor);
    } catch (error) {
      throw writeError(this.path, error);
    }
  }

  /** Forces everything to disk and closes; a second call does nothing. Errors: `ERR_WRITE`. */
  close(): void {
    if (this.descriptor === undefined) return;
    try {
      this.sync();
    } finally {
      closeSync(this.descriptor);
      this.descriptor = undefined;
    }
  }
}
