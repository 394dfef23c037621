// One reader in a process of its own, so that a crash, a hang or a flood of memory is its alone. It is given paths and
// answers how reading each ended.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { EmoframeError } from '../../../dist/index.js';
import { readers } from './readers.js';

const [name, directory] = process.argv.slice(2);
const { read } = readers[name];
const documented = new Set(
  readFileSync(join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'docs', 'errors.md'), 'utf8').match(
    /ERR_[A-Z_]+/g,
  ),
);
// These mean a fault of this package, or of something that no file can bring about.
const neverOfAFile = ['ERR_INTERNAL', 'ERR_UNEXPECTED', 'ERR_ADDON', 'ERR_ARGUMENT', 'ERR_ABORTED', 'ERR_DISPOSED'];
const longestMessage = 4000;

/** What is wrong with an error as the answer to a bad file; nothing if it is as it should be. */
function fault(error) {
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

const openFiles = () => readdirSync('/proc/self/fd').length;

/** Streams close a little after they end; what is still open then stays open. */
async function leaked(before) {
  for (let wait = 0; wait < 20 && openFiles() > before; wait++) await pause(5);
  return openFiles() - before;
}

async function attempt(path) {
  const before = openFiles();
  let code;
  let wrong;
  try {
    await read(path);
  } catch (error) {
    code = error?.code;
    wrong = fault(error);
  }
  const open = before === 0 ? 0 : await leaked(before);
  if (wrong === undefined && open > 0) wrong = `left ${open} files open`;
  return { code, wrong };
}

process.on('message', async ({ path, first }) => {
  // The first reading also opens what the process keeps: WebAssembly, the engine, timers.
  const { code, wrong } = await attempt(path);
  process.send({
    code,
    wrong: first && wrong?.startsWith('left ') ? undefined : wrong,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  });
});
process.send({ ready: true });
