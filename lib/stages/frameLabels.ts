// What is known of the frames of training utterances, for an objective that can learn from it. An utterance without segments
// teaches by its label alone.
import type { Draw } from '../batch/samplers.js';
import { EmoframeError } from '../errors.js';
import { frameTruth } from '../evaluate/frames.js';
import type { FrameTimes } from '../evaluate/segments.js';
import { type StageContext, utteranceOf } from './context.js';
import { framesOfDraws } from './inputs.js';

/** The class of a frame that is not known. */
export const UNKNOWN_FRAME = -1;

/**
 * What gives the frame labels of a pass: i32 `[T]`, the draws' frames end to end, each the class that `frameTruth` gives the
 * frame of the utterance that it is, or -1 throughout a draw of an utterance without segments. Undefined: `align.truth` is
 * `ignore`, and no pass has any.
 *
 * @throws `ERR_CORPUS` when truth is to be used and no training utterance of the fold has segments
 * @example
 * const labelFrames = frameLabeller(context, model.geometry);
 * for (const group of passesOf(context, model.geometry, draws)) {
 *   const frameLabels = labelFrames?.(group);
 * }
 */
export function frameLabeller(
  context: StageContext,
  times: Pick<FrameTimes, 'frameCenterSeconds'>,
): ((draws: readonly Draw[]) => Int32Array) | undefined {
  if (context.config.align.truth === 'ignore') return undefined;
  if (context.fold.train.every((id) => utteranceOf(context, id).segments === undefined)) {
    throw new EmoframeError(
      'ERR_CORPUS',
      `align.truth is 'use', but no training utterance of fold ${context.fold.name} has segments: set it to 'ignore', or give segments (docs/datasets.md).`,
    );
  }
  return (draws) => {
    const labels = new Int32Array(framesOfDraws(draws)).fill(UNKNOWN_FRAME);
    let first = 0;
    for (const { id, start, count } of draws) {
      const utterance = utteranceOf(context, id);
      if (utterance.segments !== undefined) {
        // Frames are counted from the utterance's start, of which a crop is a later part.
        const truth = frameTruth(utterance, context.labels, context.neutral, start + count, times);
        labels.set(truth.subarray(start), first);
      }
      first += count;
    }
    return labels;
  };
}
