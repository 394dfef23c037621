// The watched child process of a reader: ended when it takes too much time or memory, and started again.
import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const script = join(dirname(fileURLToPath(import.meta.url)), 'child.js');
/** Processor time, as a busy machine makes everything slow; and time in all, for what waits for nothing. */
const cpuSecondsLimit = 10;
const secondsLimit = 60;
/** Node with the addon and WebAssembly takes some 150 MiB. */
const memoryLimit = 700 * 2 ** 20;
const ticksPerSecond = 100;

export class ReaderProcess {
  #name;
  #directory;
  #child;
  #answer;
  #stderr = '';

  constructor(name, directory) {
    this.#name = name;
    this.#directory = directory;
  }

  /** How reading a file ended: `{ code?, wrong? }`, where `wrong` says what should not have happened. */
  async read(path) {
    const first = this.#child === undefined;
    if (first) await this.#start();
    const child = this.#child;
    const cpuBefore = this.#cpuSeconds();
    const started = Date.now();
    let stopped;
    const watch = setInterval(() => {
      if (this.#cpuSeconds() - cpuBefore > cpuSecondsLimit) stopped = `worked for more than ${cpuSecondsLimit} s`;
      else if (Date.now() - started > 1000 * secondsLimit) stopped = `did not answer within ${secondsLimit} s`;
      else if (this.#memory() > memoryLimit) stopped = `took more than ${memoryLimit} bytes of memory`;
      if (stopped !== undefined) child.kill('SIGKILL');
    }, 100);
    try {
      const answer = this.#next();
      child.send({ path, first });
      const { code, wrong, peakBytes } = await answer;
      if (wrong === undefined && peakBytes > memoryLimit) {
        await this.close();
        return { code, wrong: `took ${peakBytes} bytes of memory` };
      }
      return { code, wrong };
    } catch (error) {
      this.#child = undefined;
      return { wrong: stopped ?? `${error.message}\n${this.#stderr.slice(-3000)}` };
    } finally {
      clearInterval(watch);
    }
  }

  async close() {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async #start() {
    this.#stderr = '';
    const child = fork(script, [this.#name, this.#directory], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      execArgv: ['--max-old-space-size=512'],
    });
    this.#child = child;
    child.stderr.on('data', (chunk) => {
      this.#stderr += chunk;
    });
    child.on('message', (message) => this.#answer?.resolve(message));
    child.on('exit', (code, signal) =>
      this.#answer?.reject(new Error(`ended the process (${signal ?? `exit code ${code}`})`)),
    );
    await this.#next();
  }

  #next() {
    return new Promise((resolve, reject) => {
      this.#answer = { resolve, reject };
    });
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
      return readFileSync(`/proc/${this.#child?.pid}/${file}`, 'utf8');
    } catch {
      return '';
    }
  }
}
