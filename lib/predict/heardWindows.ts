// Audio as windows that models can be given, whether all of it is at hand or it is still coming in.
import { throwIfAborted } from '../errors.js';
import type { PackedBatch } from '../model/binding.js';
import type { Geometry } from '../model/geometry.js';
import type { LoadedModel } from './loadModel.js';
import { batchOf, checkLength, WholeAudio } from './wholeAudio.js';
import type { FrameWindow, WindowPlan } from './windows.js';

/** A window, and what a model hears in it. */
export interface HeardWindow extends FrameWindow {
  /** For one of the models that the windows were made for. */
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
  signal: AbortSignal | undefined,
): AsyncGenerator<HeardWindow> {
  checkLength(samples.length, geometry, name);
  const frames = geometry.frames(samples.length);
  const heard = new Map<LoadedModel, WholeAudio>();
  for (const loaded of models) heard.set(loaded, await WholeAudio.open(samples, loaded, plan.windowFrames, signal));
  for (const window of plan.over(frames)) {
    throwIfAborted(signal);
    const batch = (loaded: LoadedModel) => heard.get(loaded)!.batch(window);
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
): AsyncGenerator<HeardWindow> {
  const tail = new SampleTail();
  let previous: FrameWindow | undefined;
  const next = (ended: boolean): HeardWindow | undefined => {
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
