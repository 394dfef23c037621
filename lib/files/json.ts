// JSON from files. JSON.parse itself takes any depth, but whoever then walks or prints the value runs out of stack.
import { writeFileAtomic } from './atomic.js';
import { type LineLimit, type Refuse, readLines, readSmallFile } from './read.js';

/** Far deeper than anything that this package reads. */
const deepest = 100;

/** JSON.parse of text or of its UTF-8 bytes; throws too for bytes that are not UTF-8, and when the value nests more than 100 deep. */
export function parseJson(json: string | Uint8Array): unknown {
  const text = typeof json === 'string' ? json : new TextDecoder('utf-8', { fatal: true }).decode(json);
  const value: unknown = JSON.parse(text);
  if (depthOf(text) > deepest) throw new SyntaxError(`It nests more than ${deepest} deep`);
  return value;
}

/** Whether a value is what JSON calls an object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** How deep valid JSON nests: outside strings every bracket counts. */
function depthOf(text: string): number {
  let depth = 0;
  let most = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (inString) {
      if (character === '\\') i++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '[' || character === '{') most = Math.max(most, ++depth);
    else if (character === ']' || character === '}') depth--;
  }
  return most;
}

/**
 * The value of a JSON file that has at most `limit` bytes.
 *
 * @throws EmoframeError `ERR_FILE_NOT_FOUND`, `ERR_READ`; what `refuse` makes for a larger file, and for one that is not JSON
 * @example
 * const config = await readJson(file, 16 << 20, (reason, cause) =>
 *   new EmoframeError('ERR_CONFIG', `${file} cannot be used: ${reason}.`, { file, cause }),
 * );
 */
export async function readJson(path: string, limit: number, refuse: Refuse): Promise<unknown> {
  const bytes = await readSmallFile(path, limit, refuse);
  try {
    return parseJson(bytes);
  } catch (error) {
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
): AsyncGenerator<{ row: number; value?: unknown; reason?: string }> {
  for await (const { row, line } of readLines(path, limit)) {
    let value: unknown;
    try {
      value = parseJson(line);
    } catch (error) {
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
