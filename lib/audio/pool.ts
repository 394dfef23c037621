import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { unlessAborted } from '../abort.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { parseOptions } from '../issues.js';
import { printable } from '../quote.js';
import { emitWarning } from '../warning.js';
import { type AudioCacheOptions, audioCacheSchema } from './cacheFolder.js';
import { fromErrorData, type Order, type Reply, type Results, type Task, type WorkerSettings } from './messages.js';
import type { AudioRange } from './types.js';

/** More threads than this wait for the disk rather than for each other. */
const MOST_DEFAULT_THREADS = 4;
/** A thread ends in some hundredths of that, and one that is about to start in a tenth. */
const PATIENCE_MILLISECONDS = 3000;

interface Job {
  task: Task;
  succeed: (result: Results[Task['kind']]) => void;
  fail: (error: unknown) => void;
}

/** A thread and what it is doing. */
interface Seat {
  worker: Worker;
  job?: Job;
}

export interface AudioPoolOptions {
  /** 1 or more; default: the machine's processors less one, at most 4. */
  threads?: number;
  /** Where decoded audio is kept between runs. Default: nowhere. */
  cache?: AudioCacheOptions;
  /** Called with what goes wrong with the cache without stopping the work. Default: `process.emitWarning`. */
  onWarning?: (message: string) => void;
}

/**
 * Threads that decode, resample and analyse audio, so that the event loop stays free. They start when first needed, and
 * while they have nothing to do they do not keep the process alive.
 *
 * @example
 * await using pool = new AudioPool({ threads: 2 });
 * const samples = await pool.load('speech.flac');
 */
export class AudioPool {
  readonly threads: number;
  readonly #seats = new Set<Seat>();
  readonly #queue: Job[] = [];
  readonly #settings: WorkerSettings;
  readonly #warn: (message: string) => void;
  #closed = false;

  constructor(options: AudioPoolOptions = {}) {
    const threads = options.threads ?? Math.max(1, Math.min(MOST_DEFAULT_THREADS, availableParallelism() - 1));
    if (!Number.isInteger(threads) || threads < 1) {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected positive integer for threads but received ${threads} of type ${typeof threads}.`,
      );
    }
    this.threads = threads;
    this.#settings = options.cache === undefined ? {} : { cache: parseOptions(audioCacheSchema, options.cache) };
    this.#warn = options.onWarning ?? emitWarning;
  }

  /**
   * `loadAudio` in a thread: 16 kHz mono.
   *
   * @throws as loadAudio; `ERR_ABORTED`; `ERR_AUDIO_WORKER` when the thread died; `ERR_DISPOSED`
   */
  async load(path: string, range: AudioRange = {}, signal?: AbortSignal, maxSeconds?: number): Promise<Float32Array> {
    const { samples } = await this.#run<'load'>({ kind: 'load', path, range, maxSeconds }, signal);
    return samples;
  }

  /**
   * Decodes a file in a thread and gives how many samples of 16 kHz it has.
   *
   * @throws as load
   */
  async measure(path: string, range: AudioRange = {}, signal?: AbortSignal): Promise<number> {
    const { sampleCount } = await this.#run<'measure'>({ kind: 'measure', path, range }, signal);
    return sampleCount;
  }

  /**
   * `mfcc` of a file in a thread: `features` [frames, 39] at 100 frames a second, and the number of 16 kHz samples that
   * they were made from. `alignMfcc` brings them to HuBERT's rate.
   *
   * @throws as load
   */
  mfcc(path: string, range: AudioRange = {}, signal?: AbortSignal): Promise<Results['mfcc']> {
    return this.#run<'mfcc'>({ kind: 'mfcc', path, range }, signal);
  }

  /**
   * Ends the threads. What is still waiting or running fails at once with `ERR_DISPOSED`, as does every later call. A thread that waits
   * for a disk which does not answer is not waited for long.
   */
  async close(): Promise<void> {
    this.#closed = true;
    const seats = [...this.#seats];
    this.#seats.clear();
    const jobs = [...this.#queue.splice(0), ...seats.flatMap((seat) => seat.job ?? [])];
    for (const job of jobs) job.fail(closedError());
    await Promise.all(seats.map(({ worker }) => endThread(worker)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run<Kind extends Task['kind']>(
    task: Task & { kind: Kind },
    signal: AbortSignal | undefined,
  ): Promise<Results[Kind]> {
    throwIfAborted(signal);
    if (this.#closed) throw closedError();
    let job!: Job;
    const answer = new Promise<Results[Kind]>((succeed, fail) => {
      job = { task, succeed: (result) => succeed(result as Results[Kind]), fail };
      this.#queue.push(job);
      this.#assign();
    });
    try {
      return await unlessAborted(answer, signal);
    } finally {
      // After an abort, a job in the queue never begins, and a thread that has begun it stops at its next look.
      const index = this.#queue.indexOf(job);
      if (index >= 0) this.#queue.splice(index, 1);
      if (signal?.aborted)
        for (const seat of this.#seats) if (seat.job === job) seat.worker.postMessage('stop' satisfies Order);
    }
  }

  /** Gives waiting jobs to idle threads, starting threads as long as there may be more. */
  #assign(): void {
    for (const seat of this.#seats) {
      if (seat.job === undefined) this.#begin(seat);
    }
    while (this.#queue.length > 0 && this.#seats.size < this.threads) this.#begin(this.#start());
  }

  #begin(seat: Seat): void {
    const job = this.#queue.shift();
    if (job === undefined) return;
    seat.job = job;
    seat.worker.ref();
    seat.worker.postMessage(job.task satisfies Order);
  }

  #start(): Seat {
    const seat: Seat = {
      worker: new Worker(new URL('./worker.js', import.meta.url), { execArgv: [], workerData: this.#settings }),
    };
    this.#seats.add(seat);
    let cause: unknown;
    seat.worker.on('message', (reply: Reply) => {
      const job = seat.job;
      delete seat.job;
      // While it is being ended, somebody waits for that: an answer that comes in between is not to let the process go.
      if (!this.#closed) seat.worker.unref();
      for (const warning of reply.warnings) this.#warn(printable(warning));
      if ('error' in reply) job?.fail(fromErrorData(reply.error));
      else job?.succeed(reply.result);
      if (!this.#closed) this.#assign();
    });
    seat.worker.on('error', (error) => {
      cause = error;
    });
    // Always the last event, after `error` if there was one.
    seat.worker.on('exit', (code) => {
      this.#seats.delete(seat);
      const { job } = seat;
      if (job !== undefined) {
        const reason = cause instanceof Error ? cause.message : `exit code ${code}`;
        job.fail(
          new EmoframeError(
            'ERR_AUDIO_WORKER',
            `The thread that was loading ${job.task.path} died: ${reason}. Check that file, and the memory left.`,
            { file: job.task.path, cause },
          ),
        );
      }
      if (!this.#closed) this.#assign();
    });
    return seat;
  }
}

/** Lets a thread come to its end; one that does not is terminated. */
function endThread(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(() => {
      worker.terminate();
      // It may not even end so.
      worker.unref();
      resolve();
    }, PATIENCE_MILLISECONDS);
    worker.once('exit', () => {
      clearTimeout(late);
      resolve();
    });
    worker.ref();
    worker.postMessage('end' satisfies Order);
  });
}

function closedError(): EmoframeError {
  return new EmoframeError('ERR_DISPOSED', 'The audio pool is closed. Make a new one.');
}
