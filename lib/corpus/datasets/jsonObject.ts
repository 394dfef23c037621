import { EmoframeError } from '../../errors.js';
import { isObject, readJson } from '../../files/json.js';
import { given } from '../../given.js';

/** A table of MSP-Podcast in JSON, the largest that there is, has some 60 MB. */
const MAX_JSON_BYTES = 2 ** 28;

/** An annotation file that is one JSON object. @throws `ERR_CORPUS`, `ERR_READ`, `ERR_FILE_NOT_FOUND`, `ERR_ABORTED` */
export async function readJsonObject(file: string, signal?: AbortSignal): Promise<Record<string, unknown>> {
  const refuse = (reason: string, cause?: unknown) =>
    new EmoframeError('ERR_CORPUS', `${file} cannot be used: ${reason}.`, { file, cause });
  const value = await readJson(file, MAX_JSON_BYTES, refuse, given({ signal }));
  if (!isObject(value)) throw refuse('it is not a JSON object');
  return value;
}
