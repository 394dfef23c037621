import { EmoframeError } from '../errors.js';
import { isObject, parseJson } from '../files/json.js';
import { readText } from '../files/read.js';
import { describe, explain } from '../issues.js';
import { type PresetName, presets, regressionDefaults } from './presets.js';
import { configSchema } from './schema.js';
import type { RunConfig } from './types.js';

/**
 * Checks a config and fills in what it leaves out from a preset.
 *
 * @param input what the user wrote; objects are merged over the preset's, anything else replaces it.
 * @param preset `paper` (the defaults of the method) or `demo`.
 * @param file named in errors.
 * @throws `ERR_CONFIG` with the field's path, what was expected and what was received.
 * @example
 * parseConfig({ cluster: { kmeans: { clusters: 100 } } }).cluster.kmeans.restarts; // 20
 */
export function parseConfig(input: unknown = {}, preset: PresetName = 'paper', file?: string): RunConfig {
  const source = file === undefined ? 'the config' : file;
  if (!Object.hasOwn(presets, preset)) {
    throw new EmoframeError(
      'ERR_CONFIG',
      `Expected one of ${Object.keys(presets).join(', ')} as preset of ${source} but received ${describe(preset)}.`,
      { file },
    );
  }
  if (!isObject(input)) {
    throw new EmoframeError('ERR_CONFIG', `Expected an object in ${source} but received ${describe(input)}.`, { file });
  }
  const regression = input.dimensions !== undefined && input.dimensions !== null;
  const merged = merge(merge(regression ? regressionDefaults : {}, presets[preset]), input);
  const result = configSchema.safeParse(merged, { reportInput: true });
  if (result.success) return result.data;
  const reasons = result.error.issues.map((issue) => explain(issue, 'field'));
  throw new EmoframeError('ERR_CONFIG', `In ${source}: ${reasons.join(' ')}`, { file });
}

/**
 * Reads a JSON config over a preset. The file may name the preset itself: `{"preset": "demo", …}`.
 *
 * @throws `ERR_CONFIG` when the file cannot be read, is not JSON, or holds a wrong field.
 * @example
 * const config = await readConfig('run.json');
 */
export async function readConfig(file: string, preset: PresetName = 'paper'): Promise<RunConfig> {
  let input: unknown;
  try {
    input = await parseJson(await readText(file, 1 << 20));
  } catch (error) {
    // The system's own words: ours would name the file a second time.
    const { cause } = error as Error;
    const reason = cause instanceof Error ? cause.message : (error as Error).message;
    throw new EmoframeError('ERR_CONFIG', `Cannot read the config ${file}: ${reason}.`, { file, cause: error });
  }
  if (isObject(input) && 'preset' in input) {
    const { preset: named, ...rest } = input;
    return parseConfig(rest, named as PresetName, file);
  }
  return parseConfig(input, preset, file);
}

function merge(base: unknown, over: unknown): unknown {
  if (!isObject(base) || !isObject(over)) return over;
  const merged = new Map(Object.entries(base));
  for (const [key, value] of Object.entries(over)) {
    if (value !== undefined) merged.set(key, merge(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}
