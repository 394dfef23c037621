// Unreadable audio that was skipped: listed in the results with its reason, and counted at the end.
import type { EmoframeError } from '../errors.js';
import type { CommandContext } from './command.js';

/** The entry of a skipped audio in the results. */
export interface Skipped {
  id: string;
  error: { code: string; message: string; file?: string };
}

export class SkippedAudio {
  #count = 0;
  #last: EmoframeError | undefined;

  add(id: string, error: EmoframeError): Skipped {
    this.#count++;
    this.#last = error;
    const { code, message, file } = error;
    return { id, error: { code, message, ...(file !== undefined && { file }) } };
  }

  /**
   * Reports how many of `total` were skipped.
   *
   * @throws the last error if all were
   */
  report(total: number, note: CommandContext['note']): void {
    if (this.#count === 0) return;
    note(`${this.#count} of ${total} audio inputs could not be read and were skipped; the results give the reasons.`);
    if (this.#count === total) throw this.#last;
  }
}

/** One line of text. */
export function describeSkipped({ id, error }: Skipped): string {
  return `${id}  skipped: ${error.message} (${error.code})`;
}
