// Two ways to run a command: as users do, each in a process of its own; and in a process that lives on, which takes a tenth of the time.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
const worker = fileURLToPath(new URL('worker.js', import.meta.url));
/** A command takes about a second. */
const patience = 90_000;

const environmentOf = (disk) => ({ ...process.env, GOMP_SPINCOUNT: '20000', ...disk.environment });

/** Kills a child that does not end, and says so. */
function watch(child) {
  const watched = { hangs: false };
  watched.timer = setTimeout(() => {
    watched.hangs = true;
    child.kill('SIGKILL');
  }, patience);
  return watched;
}

/** `{ code, signal, line, behind, printed, hangs }` of the program in its own process. */
export async function runProgram(disk, { words, environment }) {
  const child = spawn(process.execPath, [program, ...words], {
    env: { ...environmentOf(disk), ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const watched = watch(child);
  const [printed, errors] = [child.stdout, child.stderr].map((stream) => {
    const text = { all: '' };
    stream.setEncoding('utf8').on('data', (part) => {
      text.all += part;
    });
    return text;
  });
  const [code, signal] = await once(child, 'close');
  clearTimeout(watched.timer);
  const lines = errors.all.split('\n').filter((line) => line !== '');
  const shown = lines.filter((line) => line.startsWith('emoframe: '));
  // One line and no more: nothing that Node prints of its own accord.
  const behind = lines.filter((line) => /^\s+at |^\(node:|^node:|^\w*Error\b|EMOFRAME_DEBUG/.test(line));
  if (shown.length > 1) behind.push(`${shown.length} errors are shown`);
  return { code, signal, hangs: watched.hangs, line: shown.at(-1), behind, printed: printed.all };
}

/** A process that runs one command after another, until one of them kills it. */
export class Worker {
  #disk;
  #child;

  constructor(disk) {
    this.#disk = disk;
  }

  async run(request) {
    if (this.#child === undefined) await this.#start();
    const child = this.#child;
    const watched = watch(child);
    let closing;
    const ended = new Promise((resolve) => {
      closing = (code, signal) => {
        this.#child = undefined;
        const stderr = child.errors.slice(-2000);
        resolve({ code, signal, hangs: watched.hangs, behind: stderr === '' ? [] : [stderr], printed: '' });
      };
      child.once('close', closing);
    });
    const answered = once(child, 'message').then(([answer]) => answer);
    child.send(request);
    const outcome = await Promise.race([answered, ended]);
    clearTimeout(watched.timer);
    child.off('close', closing);
    return outcome;
  }

  async #start() {
    const child = fork(worker, [], { env: environmentOf(this.#disk), stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    child.errors = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      child.errors += text;
    });
    await new Promise((resolve, reject) => {
      child.once('message', resolve);
      child.once('close', () => reject(new Error(`The worker does not start: ${child.errors}`)));
    });
    this.#child = child;
  }

  async close() {
    if (this.#child === undefined) return;
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await closed;
  }
}
