import { readFile, stat } from 'node:fs/promises';
import type { EmoframeError } from '../errors.js';
import { parseJson } from '../files/json.js';
import { readError } from '../files/read.js';

/**
 * A file of JSON that has at most `limit` bytes. Errors: what `refuse` makes of a reason, for what is larger or no JSON;
 * `ERR_FILE_NOT_FOUND`, `ERR_READ`.
 */
export async function readLimitedJson(
  file: string,
  limit: number,
  refuse: (reason: string, cause?: unknown) => EmoframeError,
): Promise<unknown> {
  try {
    if ((await stat(file)).size > limit) throw refuse(`it has more than ${limit} bytes`);
    return parseJson(await readFile(file, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) throw refuse(`it is not JSON: ${error.message}`, error);
    throw readError(file, error);
  }
}
