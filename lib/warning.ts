import { printable } from './quote.js';

/** A warning that the caller did not ask to be given: Node writes it to stderr as it is. */
export function emitWarning(message: string): void {
  process.emitWarning(printable(message), { type: 'EmoframeWarning' });
}
