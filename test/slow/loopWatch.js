// How long the event loop is kept from its work. A timer fires every millisecond; its delays show what a user of the process
// would feel (`wall`). On a machine that does other things they show those too, so the processor time that this thread
// used between two firings, which the kernel counts (proc/PID/schedstat), is counted apart (`busy`): it is our own work on the
// event loop, whatever else the machine does, and can be held to a bound anywhere.
import { closeSync, openSync, readSync } from 'node:fs';
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';

const intervalMs = 1;
const worthReportingMs = 8;

export class LoopWatch {
  #file = openSync('/proc/thread-self/schedstat', 'r');
  #buffer = Buffer.alloc(96);
  #histogram = monitorEventLoopDelay({ resolution: intervalMs });
  #busy = [];
  #longest = [];
  #collections = [];
  #collector = new PerformanceObserver((list) => this.#collections.push(...list.getEntries()));
  #timer;
  #where;

  /** `where()` says what is going on, for the list of the longest delays. */
  constructor(where = () => '') {
    this.#where = where;
  }

  /** Milliseconds of processor time that this thread has used. */
  #used() {
    const length = readSync(this.#file, this.#buffer, 0, this.#buffer.length, 0);
    return Number(this.#buffer.toString('latin1', 0, length).split(' ')[0]) / 1e6;
  }

  start() {
    this.#histogram.enable();
    this.#collector.observe({ entryTypes: ['gc'] });
    let before = this.#used();
    let timeBefore = performance.now();
    this.#timer = setInterval(() => {
      const used = this.#used();
      const time = performance.now();
      this.#busy.push(used - before);
      if (used - before > worthReportingMs) {
        this.#longest.push({ busy: used - before, from: timeBefore, to: time, where: this.#where() });
      }
      before = used;
      timeBefore = time;
    }, intervalMs);
  }

  /**
   * Stops, and gives milliseconds: percentiles of `busy` and of `wall`, and the `longest` of the first, each with the part of
   * its wall time in which V8 collected garbage.
   */
  stop() {
    clearInterval(this.#timer);
    this.#histogram.disable();
    this.#collections.push(...this.#collector.takeRecords());
    this.#collector.disconnect();
    closeSync(this.#file);
    const sorted = Float64Array.from(this.#busy).sort();
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
    const wall = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - intervalMs);
    return {
      turns: sorted.length,
      busy: { p50: at(0.5), p99: at(0.99), max: at(1) },
      wall: {
        p50: wall(this.#histogram.percentile(50)),
        p99: wall(this.#histogram.percentile(99)),
        max: wall(this.#histogram.max),
      },
      longest: this.#longest
        .sort((a, b) => b.busy - a.busy)
        .slice(0, 12)
        .map(({ busy, from, to, where }) => ({ busy, wall: to - from, garbage: this.#garbage(from, to), where })),
    };
  }

  /** Milliseconds of garbage collection between two moments. */
  #garbage(from, to) {
    return this.#collections.reduce(
      (sum, { startTime, duration }) =>
        sum + Math.max(0, Math.min(to, startTime + duration) - Math.max(from, startTime)),
      0,
    );
  }
}
