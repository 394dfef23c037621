// How a file of a model, or of a training state, is refused.
import { EmoframeError } from '../errors.js';
import { readJson } from '../files/json.js';
import { type Refuse, readSmallFile } from '../files/read.js';

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

/** A text of a model in UTF-8: settings and labels have a few kilobytes. Errors: as {@link readModelJson}. */
export async function readModelText(file: string): Promise<string> {
  const refuse = unusable(file);
  const bytes = await readSmallFile(file, 1 << 20, refuse);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw refuse('it is not a text in UTF-8', cause);
  }
}
