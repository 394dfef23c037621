// YAML of other programs: plain values. Whatever their tags would have Python make (`!new:`, `!ref`) is read as the text or the fields
// that follow, and nothing is made.
import { isObject } from '../files/json.js';
import { readModelText, unusable } from './failures.js';

/**
 * The fields of a YAML file. Errors: `ERR_CHECKPOINT` when it is none, or holds anything else than fields; `ERR_FILE_NOT_FOUND`,
 * `ERR_READ`.
 */
export async function readModelYaml(file: string): Promise<Record<string, unknown>> {
  const refuse = unusable(file);
  const text = await readModelText(file);
  // Only these models have YAML: the others do not wait for its library.
  const { parseDocument } = await import('yaml');
  let fields: unknown;
  try {
    const document = parseDocument(text, { logLevel: 'silent' });
    const [error] = document.errors;
    if (error !== undefined) throw error;
    fields = document.toJS();
  } catch (error) {
    throw refuse(`it is not valid YAML (${(error as Error).message.split('\n')[0]})`, error);
  }
  if (!isObject(fields)) throw refuse('it does not hold fields');
  return fields;
}
