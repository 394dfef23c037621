// One contender: a process that answers JSON lines (contenders/serve.js, contenders/serve.py), so that each has memory of its
// own to be measured and none disturbs another's. It times itself: neither its start nor this conversation is counted.
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/**
 * @typedef {object} Contender
 * @property {string} name e.g. `PyTorch bf16 autocast`
 * @property {string} library the part of the name that says who made it
 * @property {string} precision
 * @property {string} script file in contenders/; `.py` runs with `--python`
 * @property {Record<string, unknown>} load what it is given first
 * @property {boolean} [variant] run only with `--variants`
 */

export class Child {
  #process;
  #lines;
  #complaints = '';
  #peak = 0;
  #ended = false;
  #pid;

  /** @param {Contender} contender @param {{ python?: string, threads: number }} settings */
  constructor(contender, { python, threads }) {
    this.contender = contender;
    const script = fileURLToPath(new URL(`../contenders/${contender.script}`, import.meta.url));
    this.#process = spawn(script.endsWith('.py') ? python : process.execPath, [script], {
      env: { ...process.env, OMP_NUM_THREADS: String(threads), HF_HUB_OFFLINE: '1', HF_HUB_DISABLE_PROGRESS_BARS: '1' },
    });
    this.#process.stderr.on('data', (data) => {
      this.#complaints = (this.#complaints + data).slice(-4000);
    });
    this.#process.on('error', () => {}); // a command that is not there: its answer never comes, which `call` reports
    this.#process.on('close', () => {
      this.#ended = true;
    });
    this.#process.stdin.on('error', () => {});
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  /** Of the process that computes: what was started, unless that has another one do it and says so. */
  get pid() {
    return this.#pid ?? this.#process.pid;
  }

  /** Has the contender do something and gives its answer. */
  async call(method, parameters) {
    this.#process.stdin.write(`${JSON.stringify({ method, parameters })}\n`);
    const { value, done } = await this.#lines.next();
    const answer = done ? { error: 'it ended early' } : JSON.parse(value);
    if (answer.error) throw new Error(`${this.contender.name}: ${answer.error}\n${this.#complaints}`);
    const { pid, ...result } = answer.result;
    this.#pid = pid ?? this.#pid;
    return result;
  }

  /** Forgets the peak so far, which `peakMemory` still counts, so that the next one is of what comes now. */
  async resetPeak() {
    this.#peak = Math.max(this.#peak, await this.#highWater());
    await writeFile(`/proc/${this.pid}/clear_refs`, '5');
  }

  /** Bytes held at most: since the start of the process, and since `resetPeak`. */
  async peakMemory() {
    const running = await this.#highWater();
    return { whole: Math.max(this.#peak, running), running };
  }

  async #highWater() {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)[1]) * 1024;
  }

  async close() {
    if (this.#ended) return;
    const closed = new Promise((resolve) => this.#process.once('close', resolve));
    this.#process.stdin.end();
    await closed;
  }
}
