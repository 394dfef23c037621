// Audio that was left out because it cannot be read: it stands among the results with its reason, and is counted at the end.
import type { EmoframeError } from '../errors.js';
import type { CommandContext } from './command.js';

/** What stands in the results for an audio that was left out. */
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
   * Says how many of `total` were left out.
   *
   * @throws the last one's error when nothing is left
   */
  tell(total: number, note: CommandContext['note']): void {
    if (this.#count === 0) return;
    note(`${this.#count} of ${total} audios cannot be read and were skipped; the results say why.`);
    if (this.#count === total) throw this.#last;
  }
}

/** One line of text. */
export function tellSkipped({ id, error }: Skipped): string {
  return `${id}  skipped: ${error.message} (${error.code})`;
}
