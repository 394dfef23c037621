// One reading of a file that may be broken, and what is wrong with how it ended.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { EmoframeError } from '../../../dist/index.js';

const documented = new Set(
  readFileSync(join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'docs', 'errors.md'), 'utf8').match(
    /ERR_[A-Z_]+/g,
  ),
);
// These mean a fault of this package, or of something that no file can bring about.
const neverOfAFile = ['ERR_INTERNAL', 'ERR_UNEXPECTED', 'ERR_ADDON', 'ERR_ARGUMENT', 'ERR_ABORTED', 'ERR_DISPOSED'];
const longestMessage = 4000;

/** What is wrong with an error as the answer to a bad file; nothing if it is as it should be. */
function fault(error, directory) {
  if (!(error instanceof EmoframeError)) return `threw ${error?.stack ?? String(error)}`;
  const { code, message } = error;
  const shown = `${code}: ${message.length > 300 ? `${message.slice(0, 300)}…` : message}`;
  if (!documented.has(code)) return `threw a code that docs/errors.md does not have: ${shown}`;
  if (neverOfAFile.includes(code)) return `blamed something else than the file: ${error.stack}`;
  if (message.length > longestMessage) return `said it in ${message.length} characters: ${shown}`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not reach a terminal
  if (/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(message))
    return `quoted control characters: ${JSON.stringify(shown)}`;
  if (!message.endsWith('.')) return `did not end its sentence: ${shown}`;
  if (!message.includes(directory) && !error.file?.startsWith(directory)) return `did not name the file: ${shown}`;
  return undefined;
}

export const openFiles = () => readdirSync('/proc/self/fd').length;

/** Streams close a little after they end; what is still open then stays open. */
export async function leaked(before) {
  for (let wait = 0; wait < 20 && openFiles() > before; wait++) await pause(5);
  return openFiles() - before;
}

/**
 * Reads, and gives the code of the error that ended it and what should not have happened. `countsFiles`: whether files that are left
 * open are looked for, which takes longer than many readings.
 *
 * @returns {Promise<{ code?: string, wrong?: string }>}
 */
export async function attempt(read, directory, countsFiles) {
  const before = countsFiles ? openFiles() : 0;
  let code;
  let wrong;
  try {
    await read();
  } catch (error) {
    code = error?.code;
    wrong = fault(error, directory);
  }
  const open = before === 0 ? 0 : await leaked(before);
  if (wrong === undefined && open > 0) wrong = `left ${open} files open`;
  return { code, wrong };
}

export const peakBytes = () => process.resourceUsage().maxRSS * 1024;
