// YAML of other programs: plain values. Whatever their tags would have Python make (`!new:`, `!ref`) is read as the text or the fields
// that follow, and nothing is made.
import { isObject } from '../files/json.js';
import { readModelText, unusable } from './failures.js';

/** The configs of models have some thousand characters. */
const mostCharacters = 1 << 15;
/** Far deeper than any of them. Each level costs the library much time and memory. */
const deepest = 100;

/** Whether text may nest deeper than that: by brackets, wherever they are, by indentation, or by dashes in one line. */
function nestsDeep(text: string): boolean {
  let depth = 0;
  return text.split(/\r?\n|\r/).some((line) => {
    for (const character of line) {
      if (character === '[' || character === '{') depth++;
      else if (character === ']' || character === '}') depth = Math.max(0, depth - 1);
      if (depth > deepest) return true;
    }
    return /^[\s?:-]*/.exec(line)![0].length > 2 * deepest;
  });
}

/**
 * The fields of a YAML file. Errors: `ERR_CHECKPOINT` when it is none, is too large, or holds anything else than fields;
 * `ERR_FILE_NOT_FOUND`, `ERR_READ`.
 */
export async function readModelYaml(file: string): Promise<Record<string, unknown>> {
  const refuse = unusable(file);
  const text = await readModelText(file);
  if (text.length > mostCharacters) throw refuse(`it has more than ${mostCharacters} characters`);
  if (nestsDeep(text)) throw refuse(`it nests more than ${deepest} deep`);
  // Only these models have YAML: the others do not wait for its library.
  const { parseDocument } = await import('yaml');
  let fields: unknown;
  try {
    const document = parseDocument(text, { logLevel: 'silent', prettyErrors: false });
    const [error] = document.errors;
    if (error !== undefined) throw error;
    fields = document.toJS();
  } catch (error) {
    throw refuse(`it is not valid YAML (${(error as Error).message.split('\n')[0]})`, error);
  }
  if (!isObject(fields)) throw refuse('it does not hold fields');
  return fields;
}
