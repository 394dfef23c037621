// Audio longer than a window is heard through windows that overlap. The transformer hears a whole window, but only the
// frames in its middle are kept, so that each kept frame has been heard with what lies around it.
import { EmoframeError } from '../errors.js';
import type { Geometry } from '../model/geometry.js';

/** How long audio is cut. */
export interface WindowOptions {
  /** Seconds that the model hears at once; audio up to that long is heard in one pass. Default 30. */
  windowSeconds?: number;
  /**
   * Seconds on either side of a window that are heard but not kept. From 1.3 s on, all that lies before the transformer is
   * as in one pass. Default 2, or a sixth of a window that is shorter than 12 s.
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

/** Where windows lie. All have the same length: the last is moved back to end where the audio ends. */
export class WindowPlan {
  readonly used: WindowsUsed;
  /** Frames of a window. */
  readonly windowFrames: number;
  readonly #overlapFrames: number;

  /** @throws `ERR_ARGUMENT` unless windows are longer than both their overlaps. */
  constructor(geometry: Geometry, options: WindowOptions) {
    const {
      windowSeconds = defaultWindowSeconds,
      overlapSeconds = Math.min(defaultOverlapSeconds, windowSeconds / 6),
    } = options;
    this.windowFrames = Math.round(windowSeconds / geometry.frameSeconds);
    this.#overlapFrames = Math.round(overlapSeconds / geometry.frameSeconds);
    if (!(this.windowFrames > 2 * this.#overlapFrames)) {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected windowSeconds above twice overlapSeconds but received ${windowSeconds} and ${overlapSeconds}.`,
      );
    }
    this.used = { seconds: windowSeconds, overlap: overlapSeconds };
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
    const start = Math.max(keepStart - this.#overlapFrames, 0);
    const end = start + this.windowFrames;
    // A window that ends where the audio ends has nothing to drop on that side.
    if (frames > end) return { start, end, keepStart, keepEnd: end - this.#overlapFrames };
    if (!ended || keepStart >= frames) return undefined;
    return { start: Math.max(frames - this.windowFrames, 0), end: frames, keepStart, keepEnd: frames };
  }
}
