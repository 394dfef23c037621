// Audio longer than a window is heard through windows that overlap. The transformer hears a whole window, but only the
// frames in its middle are kept, so that each kept frame has been heard with what lies around it.
import { EmoframeError } from '../errors.js';
import type { AlignmentField } from '../model/alignment.js';
import type { Geometry } from '../model/geometry.js';

/** How long audio is cut. */
export interface WindowOptions {
  /** Seconds that the model hears at once; audio up to that long is heard in one pass. Default 30. */
  windowSeconds?: number;
  /**
   * Seconds on either side of a window that are heard but not kept. From 1.3 s on, all that lies before the transformer is
   * as in one pass. Default 2, or a sixth of a window that is shorter than 12 s; of a model with an alignment network at least
   * what this hears on either side of a frame.
   */
  overlapSeconds?: number;
}

/** The windows through which a result was computed. */
export interface WindowsUsed {
  /** Seconds that the model heard at once. */
  readonly seconds: number;
  /** Seconds on either side that were heard but not kept. */
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

/** Of a model whose frames may be heard in any windows. */
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
        `Expected overlapSeconds of at least ${needed}, so far does the alignment network hear, but received ${overlapSeconds}.`,
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

  /** Whether so many frames are heard in one pass. */
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
