// How fast updates are made, as their log says it: seconds of audio that are trained on in a second, the model's operations that
// this takes, and which share they are of what the device could do.
import type { PackedBatch } from '../model/binding.js';
import { trainingFlops } from '../model/flops.js';
import type { Model } from '../model/model.js';
import type { Metrics } from './context.js';
import type { Update } from './update.js';

/** Counts updates and their time. Its numbers differ from run to run: they are for the log and for no result. */
export class TrainingSpeed {
  #frames = 0;
  #flops = 0;
  #since = performance.now();
  readonly #trained = new Map<string, boolean>();

  /** @param peak operations a second that the device is measured by; absent: it is not known. */
  constructor(
    private readonly model: Model,
    private readonly peak: number | undefined,
  ) {}

  /** An update that is done. What the model trains may not change from one to the next. */
  add({ passes }: Update): void {
    for (const { batch, options } of passes) {
      const lengths = this.#lengths(batch);
      this.#frames += lengths.reduce((sum, length) => sum + length, 0);
      const stored = batch.features !== undefined;
      this.#flops += trainingFlops(this.model.spec, { ...options, lengths, stored, trains: this.#trains });
    }
  }

  /** Speed of the updates since it was asked for the last time. */
  take(): Metrics {
    const now = performance.now();
    const seconds = (now - this.#since) / 1000;
    const flopsPerSecond = this.#flops / seconds;
    const speed = {
      audioSecondsPerSecond: (this.#frames * this.model.geometry.frameSeconds) / seconds,
      flopsPerSecond,
      ...(this.peak !== undefined && { peakShare: flopsPerSecond / this.peak }),
    };
    [this.#frames, this.#flops, this.#since] = [0, 0, now];
    return speed;
  }

  /** Does what is no part of an update, as validation is, without counting its time. */
  async without(work: () => Promise<void>): Promise<void> {
    const begun = performance.now();
    await work();
    this.#since += performance.now() - begun;
  }

  #lengths({ features, frameCounts, lengths }: PackedBatch): number[] {
    if (frameCounts !== undefined) return [...frameCounts];
    if (features !== undefined) return features.map((key) => this.model.storedFrames(key));
    return Array.from(lengths ?? [], (samples) => this.model.geometry.frames(samples));
  }

  readonly #trains = (prefix: string): boolean => {
    let trained = this.#trained.get(prefix);
    if (trained === undefined) {
      trained = this.model.trains(prefix);
      this.#trained.set(prefix, trained);
    }
    return trained;
  };
}
