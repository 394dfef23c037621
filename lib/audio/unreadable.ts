import { EmoframeError } from '../errors.js';

/** Codes of errors that lie in one audio, however often it is tried, and however well all else is. */
const codes = [
  'ERR_AUDIO',
  'ERR_AUDIO_FORMAT',
  'ERR_AUDIO_LIMIT',
  'ERR_AUDIO_RANGE',
  'ERR_AUDIO_SHORT',
  'ERR_FILE_NOT_FOUND',
  'ERR_NOT_FINITE',
];

/** Whether an error says that an audio cannot be used, and others can. */
export function isUnreadable(error: unknown): error is EmoframeError {
  return error instanceof EmoframeError && codes.includes(error.code);
}
