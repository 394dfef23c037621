// The watched child process of readers: ended when it takes too much time or memory, and started again.
import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
/** Processor time, as a busy machine makes everything slow; and time in all, for what waits for nothing. */
const cpuSecondsLimit = 10;
const secondsLimit = 60;
/** Node with the addon and WebAssembly takes some 150 MiB, with all readers some 300. */
export const memoryLimit = 700 * 2 ** 20;
const ticksPerSecond = 100;

/** A process that answers within a time. */
class Watched {
  #child;
  #since;
  #cpuBefore = 0;
  #stopped;
  #stderr = '';

  constructor(script, args, execArgv = []) {
    this.#child = fork(join(here, script), args, {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      execArgv: ['--max-old-space-size=512', ...execArgv],
    });
    this.#child.stderr.on('data', (chunk) => {
      this.#stderr += chunk;
    });
    this.begin();
    const watch = setInterval(() => this.#look(), 100);
    this.#child.once('exit', () => clearInterval(watch));
  }

  /** From now on its time counts. */
  begin() {
    this.#since = Date.now();
    this.#cpuBefore = this.#cpuSeconds();
  }

  send(message) {
    this.#child.send(message);
  }

  /** `answer` gets messages; `ended` why it ended, if it was not by `end`. */
  on(answer, ended) {
    this.#child.on('message', answer);
    this.#child.once('exit', (code, signal) => {
      const why = this.#stopped ?? `ended the process (${signal ?? `exit code ${code}`})\n${this.#stderr.slice(-3000)}`;
      ended(why);
    });
  }

  async end() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }

  #look() {
    if (this.#cpuSeconds() - this.#cpuBefore > cpuSecondsLimit) {
      this.#stopped = `worked for more than ${cpuSecondsLimit} s`;
    } else if (Date.now() - this.#since > 1000 * secondsLimit) {
      this.#stopped = `did not answer within ${secondsLimit} s`;
    } else if (this.#memory() > memoryLimit) {
      this.#stopped = `took more than ${memoryLimit} bytes of memory`;
    }
    if (this.#stopped !== undefined) this.#child.kill('SIGKILL');
  }

  #cpuSeconds() {
    const fields = this.#proc('stat')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond || 0;
  }

  #memory() {
    return 1024 * Number(/VmRSS:\s+(\d+)/.exec(this.#proc('status'))?.[1] ?? 0);
  }

  #proc(file) {
    try {
      return readFileSync(`/proc/${this.#child.pid}/${file}`, 'utf8');
    } catch {
      return '';
    }
  }
}

/** Reads files by any readers, one at a time. */
export class ReaderProcess {
  #watched;
  #settle;

  /** How reading a file ended: `{ code?, wrong? }`, where `wrong` says what should not have happened. */
  async read(name, directory, path) {
    const fresh = this.#watched === undefined;
    if (fresh) await this.#start();
    this.#watched.begin();
    const answer = this.#next();
    this.#watched.send({ name, directory, path });
    const { code, wrong, peakBytes = 0 } = await answer;
    if (wrong !== undefined || peakBytes <= memoryLimit) return { code, wrong };
    await this.close();
    // What many readings took together is not the fault of this one.
    return fresh ? { code, wrong: `took ${peakBytes} bytes of memory` } : this.read(name, directory, path);
  }

  async close() {
    const watched = this.#watched;
    this.#watched = undefined;
    await watched?.end();
  }

  async #start() {
    const watched = new Watched('child.js', []);
    this.#watched = watched;
    const ready = this.#next();
    watched.on(
      (message) => this.#settle(message),
      (wrong) => {
        if (this.#watched !== watched) return;
        this.#watched = undefined;
        this.#settle({ wrong });
      },
    );
    const { wrong } = await ready;
    if (wrong !== undefined) throw new Error(wrong);
  }

  #next() {
    return new Promise((resolve) => {
      this.#settle = resolve;
    });
  }
}

/**
 * Lets a reader be fuzzed for so long from its first input on, by coverage or, for comparison, without. Gives what its process said
 * last; `failed` gets what is wrong and the bytes of the input, none where the process ended.
 */
export async function fuzzFor(milliseconds, { name, directory, seed, folder, blind }, failed) {
  const args = [name, directory, String(seed), folder, JSON.stringify({ blind, memoryLimit })];
  const watched = new Watched('guidedChild.js', args, ['--import', join(here, 'withCounters.js')]);
  let last = { executed: 0, edges: 0, features: 0, inputs: 0, codes: {} };
  let timer;
  let began;
  // A process that has just been started may take long on a busy machine.
  const over = new Promise((resolve) => {
    began = () => {
      timer ??= setTimeout(resolve, milliseconds);
    };
  });
  const ended = new Promise((resolve) => {
    watched.on((message) => {
      began();
      watched.begin();
      if (message.failure === undefined) last = message;
      else failed(message.failure, Buffer.from(message.bytes, 'base64'));
    }, resolve);
  });
  const wrong = await Promise.race([ended, over]);
  clearTimeout(timer);
  await watched.end();
  if (wrong !== undefined) failed(wrong, undefined);
  return { ...last, ended: wrong !== undefined };
}
