// JSON from files.
import { EmoframeError } from '../errors.js';
import { given } from '../given.js';
import { writeFileAtomic } from './atomic.js';
import { type JsonLimits, parseLongJson } from './longJson.js';
import { type LineLimit, type Refuse, readLines, readSmallFile } from './read.js';

/** Far deeper than anything that this package reads. */
const deepest = 100;
/** What a text of JSON may hold where its reader does not say: a file of a few megabytes, or a row of a manifest. */
const mostValues = 1_000_000;

/**
 * JSON.parse of text or of its UTF-8 bytes, with limits on depth (100) and the number of values that hold before anything is made, and
 * in steps of a few milliseconds. Throws an error too for bytes that are not UTF-8.
 */
export function parseJson(json: string | Uint8Array, limits: Partial<JsonLimits> = {}): Promise<unknown> {
  return parseLongJson(json, { depth: deepest, values: mostValues, ...limits });
}

/** Whether a value is what JSON calls an object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A text, or a number as text; undefined for anything else, whose own text may be anything: `String({ toString: 1 })` throws. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}

/** Fewer bytes a value than files have that are worth reading; lists of single digits are not. */
const bytesPerValue = 64;

/**
 * The value of a JSON file that has at most `limit` bytes, and at most one value for every 64 of them unless `limits` says otherwise.
 *
 * @throws EmoframeError `ERR_FILE_NOT_FOUND`, `ERR_READ`, `ERR_ABORTED`; what `refuse` makes for a larger file, and for one that is not JSON
 * @example
 * const config = await readJson(file, 16 << 20, (reason, cause) =>
 *   new EmoframeError('ERR_CONFIG', `${file} cannot be used: ${reason}.`, { file, cause }),
 * );
 */
export async function readJson(
  path: string,
  limit: number,
  refuse: Refuse,
  limits: Partial<JsonLimits> = {},
): Promise<unknown> {
  const bytes = await readSmallFile(path, limit, refuse);
  try {
    return await parseJson(bytes, { values: limit / bytesPerValue, ...limits });
  } catch (error) {
    if (error instanceof EmoframeError) throw error;
    throw refuse(`it is not valid JSON: ${(error as Error).message}`, error);
  }
}

/**
 * The values of a file of one JSON value a line, with the lines' numbers from 1; a line that is not JSON, as a crash may leave the
 * last, has a `reason` in place of its value.
 *
 * @throws EmoframeError as {@link readLines}
 */
export async function* readJsonl(
  path: string,
  limit?: LineLimit,
  signal?: AbortSignal,
): AsyncGenerator<{ row: number; value?: unknown; reason?: string }> {
  for await (const { row, line } of readLines(path, limit, signal)) {
    let value: unknown;
    try {
      value = await parseJson(line, given({ signal }));
    } catch (error) {
      if (error instanceof EmoframeError) throw error;
      yield { row, reason: (error as Error).message };
      continue;
    }
    yield { row, value };
  }
}

/** Writes a value as JSON that people can read, atomically. Errors: `ERR_WRITE`. */
export function writeJson(path: string, value: unknown): Promise<void> {
  return writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
}
