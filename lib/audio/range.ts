import { EmoframeError } from '../errors.js';
import { given } from '../given.js';
import type { AudioRange, SampleRange } from './types.js';

/**
 * Manifests round their times, so an end a little past the file's is the file's end; more than this is a mistake in the
 * manifest and an error.
 */
export const RANGE_TOLERANCE_SECONDS = 0.1;

/** Throws `ERR_AUDIO_RANGE` for a channel that the file has not. */
export function checkChannel({ channel }: AudioRange, channelCount: number, path: string): void {
  if (channel === undefined || (Number.isInteger(channel) && channel >= 1 && channel <= channelCount)) return;
  throw new EmoframeError(
    'ERR_AUDIO_RANGE',
    `Expected a channel from 1 to ${channelCount}, the number of channels of ${path}, but received ${channel}.`,
    { file: path },
  );
}

/** A range without what is undefined. */
export function rangeOf({ startSeconds, endSeconds, channel }: AudioRange): AudioRange {
  return given({ startSeconds, endSeconds, channel });
}

/**
 * Seconds to samples of one channel: both ends rounded to the nearest sample, the end clipped to the file's.
 * Throws `ERR_AUDIO_RANGE` where nothing would be left or the range leaves the file.
 */
export function toSampleRange(range: AudioRange, sampleRate: number, sampleCount: number, path: string): SampleRange {
  const { startSeconds = 0, endSeconds } = range;
  const seconds = sampleCount / sampleRate;
  if (!(startSeconds >= 0) || (endSeconds !== undefined && !(endSeconds > startSeconds))) {
    throw new EmoframeError(
      'ERR_AUDIO_RANGE',
      `Expected 0 <= start < end but received ${startSeconds} to ${endSeconds ?? 'the end'} seconds for ${path}.`,
      { file: path },
    );
  }
  const start = Math.round(startSeconds * sampleRate);
  const end = endSeconds === undefined ? sampleCount : Math.round(endSeconds * sampleRate);
  if (end - sampleCount > RANGE_TOLERANCE_SECONDS * sampleRate || start >= Math.min(end, sampleCount)) {
    const asked = `${startSeconds} to ${endSeconds ?? 'the end'} seconds`;
    throw new EmoframeError(
      'ERR_AUDIO_RANGE',
      `The range ${asked} is not inside ${path}, which lasts ${seconds.toFixed(3)} seconds.`,
      { file: path },
    );
  }
  return { start, end: Math.min(end, sampleCount) };
}
