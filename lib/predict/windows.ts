// Audio longer than a window goes through a model in windows that overlap. The transformer sees a whole window, but only the
// frames in its middle are kept, so that each kept frame was computed with what lies around it. Where windows lie follows from the
// number of frames, whether all of the audio is at hand or it is still coming in.
import { EmoframeError, throwIfAborted } from '../errors.js';
import type { AlignmentField } from '../model/alignment.js';
import type { PackedBatch } from '../model/binding.js';
import type { Geometry } from '../model/geometry.js';
import type { LoadedModel } from './loadModel.js';
import { batchOf, checkLength, NormalizedUtterance } from './modelInput.js';
import type { WindowOptions } from './options.js';
import type { EngineUse } from './turns.js';

/** The windows in which a result was computed. */
export interface WindowsUsed {
  /** Seconds of a window. */
  readonly seconds: number;
  /** Seconds on either side that were computed but not kept. */
  readonly overlap: number;
}

/** One window, in frames of the whole audio. */
export interface FrameWindow {
  readonly start: number;
  readonly end: number;
  /** The frames that are kept: together, those of all windows are all frames, each once. */
  readonly keepStart: number;
  readonly keepEnd: number;
}

const defaultWindowSeconds = 30;
const defaultOverlapSeconds = 2;

/** Where windows of a model must lie. */
export type WindowGrid = Pick<AlignmentField, 'chunk' | 'overlap'>;

/** Of a model whose windows may lie anywhere. */
const anywhere: WindowGrid = { chunk: 1, overlap: 0 };

/**
 * Where windows lie. All have the same length: the last is moved back to end where the audio ends. On a grid they start at
 * multiples of a chunk and have whole chunks, but for the last, which is as much shorter.
 */
export class WindowPlan {
  readonly used: WindowsUsed;
  /** Frames of a window. */
  readonly windowFrames: number;
  readonly #overlapFrames: number;
  readonly #chunk: number;
  readonly #frameSeconds: number;

  /** @throws `ERR_ARGUMENT` unless windows are longer than both their overlaps, and these as long as the grid needs them. */
  constructor(geometry: Geometry, options: WindowOptions, { chunk, overlap }: WindowGrid = anywhere) {
    const { frameSeconds } = geometry;
    const needed = rounded(overlap * frameSeconds);
    const {
      windowSeconds = defaultWindowSeconds,
      overlapSeconds = Math.max(Math.min(defaultOverlapSeconds, windowSeconds / 6), needed),
    } = options;
    this.windowFrames = Math.floor(Math.round(windowSeconds / frameSeconds) / chunk) * chunk;
    this.#overlapFrames = Math.round(overlapSeconds / frameSeconds);
    this.#chunk = chunk;
    this.#frameSeconds = frameSeconds;
    if (this.#overlapFrames < overlap) {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected overlapSeconds of at least ${needed}, the context of a frame in this model, but received ${overlapSeconds}.`,
      );
    }
    // A window starts up to a chunk earlier than it must.
    const shortest = Math.ceil((2 * this.#overlapFrames + chunk) / chunk) * chunk;
    if (this.windowFrames < shortest) {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        overlap === 0
          ? `Expected windowSeconds above twice overlapSeconds but received ${windowSeconds} and ${overlapSeconds}.`
          : `Expected windowSeconds of at least ${rounded(shortest * frameSeconds)}, of which ${overlapSeconds} on either side are not kept, but received ${windowSeconds}.`,
      );
    }
    const seconds = chunk === 1 ? windowSeconds : rounded(this.windowFrames * frameSeconds);
    this.used = { seconds, overlap: overlapSeconds };
  }

  /** Whether so many frames go through the model in one pass. */
  fits(frames: number): boolean {
    return frames <= this.windowFrames;
  }

  /** The windows of so many frames, at least one. */
  *over(frames: number): Generator<FrameWindow> {
    let window = this.next(undefined, frames, true);
    while (window !== undefined) {
      yield window;
      window = this.next(window, frames, true);
    }
  }

  /**
   * The window after `previous` when `frames` frames are there and, unless `ended`, more come; nothing while it must wait
   * for more, or when all frames are kept.
   */
  next(previous: FrameWindow | undefined, frames: number, ended: boolean): FrameWindow | undefined {
    const keepStart = previous?.keepEnd ?? 0;
    const start = Math.floor(Math.max(keepStart - this.#overlapFrames, 0) / this.#chunk) * this.#chunk;
    const end = start + this.windowFrames;
    // A window that ends where the audio ends has nothing to drop on that side.
    if (frames > end) return { start, end, keepStart, keepEnd: end - this.#overlapFrames };
    if (!ended || keepStart >= frames) return undefined;
    const last = Math.ceil(Math.max(frames - this.windowFrames, 0) / this.#chunk) * this.#chunk;
    return { start: last, end: frames, keepStart, keepEnd: frames };
  }

  /**
   * Seconds of audio after a frame that must have come before it is given, at the most: until its window has come, with the
   * frames that it waits for in turn.
   *
   * @param lagSeconds of what follows a frame that its posterior takes into account.
   */
  latencySeconds(lagSeconds: number): number {
    // The first window is kept from its start on; of the others the first frame that is kept waits for the rest.
    const lag = Math.round(lagSeconds / this.#frameSeconds);
    return rounded(Math.max(this.windowFrames, this.windowFrames - this.#overlapFrames + lag) * this.#frameSeconds);
  }
}

/** Without the noise of binary fractions. */
function rounded(seconds: number): number {
  return Number(seconds.toFixed(4));
}

/** A window with its samples. */
export interface AudioWindow extends FrameWindow {
  /** As one of the models takes it for which the windows were made. */
  batch(loaded: LoadedModel): PackedBatch;
  /** f32 at 16 kHz, as it came. */
  readonly sound: Float32Array;
  /** Whether the audio ends with it. */
  readonly last: boolean;
  /** Samples of the audio so far; of all of it with the last window. */
  readonly samples: number;
}

/** The windows of audio that is at hand, normalised over all of it for the given models. */
export async function* wholeWindows(
  samples: Float32Array,
  geometry: Geometry,
  models: readonly LoadedModel[],
  plan: WindowPlan,
  name: string,
  use: EngineUse,
): AsyncGenerator<AudioWindow> {
  checkLength(samples.length, geometry, name);
  const frames = geometry.frames(samples.length);
  const normalized = new Map<LoadedModel, NormalizedUtterance>();
  for (const loaded of models) {
    normalized.set(loaded, await NormalizedUtterance.open(samples, loaded, plan.windowFrames, use));
  }
  for (const window of plan.over(frames)) {
    throwIfAborted(use.signal);
    const batch = (loaded: LoadedModel) => normalized.get(loaded)!.batch(window);
    const first = window.start * geometry.stride;
    const sound = samples.subarray(first, first + geometry.samplesFor(window.end - window.start));
    yield { ...window, batch, sound, last: window.keepEnd === frames, samples: samples.length };
  }
}

/** The windows of audio that comes in parts, each normalised by itself; at most two windows of samples are held. */
export async function* liveWindows(
  parts: AsyncIterable<Float32Array>,
  geometry: Geometry,
  plan: WindowPlan,
  name: string,
): AsyncGenerator<AudioWindow> {
  const tail = new SampleTail();
  let previous: FrameWindow | undefined;
  const next = (ended: boolean): AudioWindow | undefined => {
    const frames = geometry.frames(tail.end);
    const window = plan.next(previous, frames, ended);
    if (window === undefined) return undefined;
    previous = window;
    const first = window.start * geometry.stride;
    // The last window may begin before the next one would have, but never before this one.
    tail.forget(first);
    const sound = tail.copy(first, first + geometry.samplesFor(window.end - window.start));
    const batch = (loaded: LoadedModel) => batchOf([{ samples: sound, name }], loaded);
    return { ...window, batch, sound, last: ended && window.keepEnd === frames, samples: tail.end };
  };
  for await (const part of parts) {
    tail.push(part);
    for (let window = next(false); window !== undefined; window = next(false)) yield window;
  }
  checkLength(tail.end, geometry, name);
  const window = next(true);
  if (window !== undefined) yield window;
}

/** The last samples of audio that comes in parts. */
class SampleTail {
  #parts: { start: number; samples: Float32Array }[] = [];
  /** Samples that have come. */
  end = 0;

  push(samples: Float32Array): void {
    this.#parts.push({ start: this.end, samples });
    this.end += samples.length;
  }

  forget(before: number): void {
    this.#parts = this.#parts.filter(({ start, samples }) => start + samples.length > before);
  }

  copy(first: number, end: number): Float32Array {
    const output = new Float32Array(end - first);
    for (const { start, samples } of this.#parts) {
      const part = samples.subarray(Math.max(first - start, 0), Math.max(end - start, 0));
      if (part.length > 0) output.set(part, Math.max(start - first, 0));
    }
    return output;
  }
}
