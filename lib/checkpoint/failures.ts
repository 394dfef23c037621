// How a file of a model, or of a training state, is refused.
import { EmoframeError } from '../errors.js';
import { readJson } from '../files/json.js';
import type { Refuse } from '../files/read.js';

/** Errors `ERR_CHECKPOINT` of a file that holds something else than it should. */
export function unusable(file: string): Refuse {
  return (reason, cause) => new EmoframeError('ERR_CHECKPOINT', `${file} cannot be used: ${reason}.`, { file, cause });
}

/** Errors `ERR_CHECKPOINT_DAMAGED` of a file that once was written whole. */
export function damaged(file: string): Refuse {
  return (reason, cause) =>
    new EmoframeError('ERR_CHECKPOINT_DAMAGED', `${file} is damaged: ${reason}.`, { file, cause });
}

/** A JSON file of a model. Errors: `ERR_CHECKPOINT`, `ERR_FILE_NOT_FOUND`, `ERR_READ`. */
export function readModelJson(file: string): Promise<unknown> {
  return readJson(file, 16 << 20, unusable(file));
}
