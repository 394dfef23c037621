import { parseArgs } from 'node:util';
import type { AudioCacheOptions } from '../audio/cacheFolder.js';
import { EmoframeError } from '../errors.js';
import { precisions } from '../model/precision.js';

/** How one option is written, explained and read. */
export interface Option<Value> {
  /** Stands for the value in the help; absent for a flag. */
  placeholder?: string;
  help: string;
  /** Reads the value; a wrong one is an error that says what was expected. */
  parse(text: string, name: string): Value;
  required?: boolean;
}

export type Options = Record<string, Option<unknown>>;

type Flag = Option<boolean> & { placeholder?: never };

/** The values a command receives: flags are booleans, required options are always present. */
export type Values<O extends Options> = {
  [K in keyof O]: O[K] extends Flag
    ? boolean
    : O[K] extends Option<infer Value> & { required: true }
      ? Value
      : O[K] extends Option<infer Value>
        ? Value | undefined
        : never;
};

/** Wrong usage of the program: reported with a hint, exit code 2. */
export class UsageError extends EmoframeError {
  constructor(
    message: string,
    readonly hint?: string,
  ) {
    super('ERR_USAGE', message);
  }
}

export function text(placeholder: string, help: string): Option<string> {
  return {
    placeholder,
    help,
    parse: (given, name) => {
      if (given === '') throw new UsageError(`Expected ${placeholder} for --${name} but received nothing.`);
      return given;
    },
  };
}

export function required<Value>(option: Option<Value>): Option<Value> & { required: true } {
  return { ...option, required: true };
}

export function flag(help: string): Flag {
  return { help, parse: () => true };
}

export function choice<const Name extends string>(names: readonly Name[], help: string): Option<Name> {
  return {
    placeholder: names.join('|'),
    help,
    parse: (given, name) => {
      const found = names.find((candidate) => candidate === given);
      if (found === undefined)
        throw new UsageError(`Expected one of ${names.join(', ')} for --${name} but received ${given}.`);
      return found;
    },
  };
}

export function nonNegativeInteger(help: string): Option<number> {
  return numberOption('N', 'non-negative integer', help, (n) => Number.isSafeInteger(n) && n >= 0);
}

/** Non-negative integers, separated by commas. */
export function integerList(help: string): Option<number[]> {
  return {
    placeholder: 'N,...',
    help,
    parse: (given, name) => {
      const values = given.split(',').map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : Number.NaN));
      if (values.some(Number.isNaN))
        throw new UsageError(`Expected non-negative integers for --${name} but received ${given}.`);
      return values;
    },
  };
}

export function positiveInteger(help: string): Option<number> {
  return numberOption('N', 'positive integer', help, (n) => Number.isSafeInteger(n) && n > 0);
}

export function positiveNumber(help: string): Option<number> {
  return numberOption('X', 'positive number', help, (n) => n > 0);
}

export function nonNegativeNumber(help: string): Option<number> {
  return numberOption('X', 'non-negative number', help, (n) => n >= 0);
}

/** Given in GiB, read in bytes. */
function gibibytes(help: string): Option<number> {
  const option = positiveNumber(help);
  return { ...option, parse: (given, name) => Math.ceil(option.parse(given, name) * 2 ** 30) };
}

function numberOption(
  placeholder: string,
  expected: string,
  help: string,
  accepts: (value: number) => boolean,
): Option<number> {
  return {
    placeholder,
    help,
    parse: (given, name) => {
      const value = Number(given);
      if (given.trim() === '' || !Number.isFinite(value) || !accepts(value)) {
        throw new UsageError(`Expected ${expected} for --${name} but received ${given === '' ? 'nothing' : given}`);
      }
      return value;
    },
  };
}

/** Options of every command that runs a model. */
export const deviceOptions = {
  device: text('cpu|cuda:N', 'where to compute (default: cpu)'),
  precision: choice(precisions, 'number format of the computation (default: fp32); tf32 on a GPU only'),
  threads: nonNegativeInteger('compute threads (default: 0, all that this process may use, within its CPU quota)'),
  'memory-limit': gibibytes('most device memory to use, in GiB (default: all)'),
};

/** What to do with unreadable audio. */
export const corruptOption = choice(
  ['fail', 'skip'],
  'on unreadable audio: stop, or leave it out and list it in the results (default: fail)',
);

/** Where decoded audio is kept. */
export const cacheOptions = {
  'audio-cache': text('DIR', 'keep decoded audio here for later runs (default: EMOFRAME_AUDIO_CACHE, else none)'),
  'audio-cache-gib': positiveNumber('approximate limit of the cache in GiB (default: 50)'),
};

/** The cache folder given, or that of the environment. */
export function cacheFolderOf(named: string | undefined): string | undefined {
  return named ?? (process.env.EMOFRAME_AUDIO_CACHE || undefined);
}

/** The `audioCache` option for API calls. */
export function audioCacheOf(values: Values<typeof cacheOptions>): { audioCache?: AudioCacheOptions } {
  const dir = cacheFolderOf(values['audio-cache']);
  const gib = values['audio-cache-gib'];
  return dir === undefined ? {} : { audioCache: { dir, ...(gib !== undefined && { bytes: gib * 2 ** 30 }) } };
}

/** How long audio is divided into windows. */
export const windowOptions = {
  'window-seconds': nonNegativeNumber('length of a window in seconds (default: 30)'),
  'overlap-seconds': nonNegativeNumber('seconds of context on either side of a window (default: 2)'),
};

/** Reads the words after the command's name. @throws UsageError */
export function readArguments<O extends Options>(
  words: readonly string[],
  options: O,
): { positionals: string[]; values: Values<O> } {
  let parsed: { values: Record<string, string | boolean | undefined>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: joinNegativeNumbers(words, options),
      options: Object.fromEntries(
        Object.entries(options).map(([name, option]) => [
          name,
          { type: option.placeholder === undefined ? ('boolean' as const) : ('string' as const) },
        ]),
      ),
      allowPositionals: true,
    });
  } catch (error) {
    throw explain(error, options);
  }
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(options)) {
    const given = parsed.values[name];
    if (option.placeholder === undefined) values[name] = given === true;
    else if (typeof given === 'string') values[name] = option.parse(given, name);
  }
  // After the values, so that a wrong one is reported first.
  for (const [name, option] of Object.entries(options)) {
    if (option.required && values[name] === undefined) {
      throw new UsageError(`Expected --${name} ${option.placeholder} but it is missing.`);
    }
  }
  return { positionals: parsed.positionals, values: values as Values<O> };
}

/** Makes `--layer -3` a wrong number rather than an unknown option `-3`. */
function joinNegativeNumbers(words: readonly string[], options: Options): string[] {
  const joined: string[] = [];
  for (const word of words) {
    const before = joined.at(-1);
    if (/^-[\d.]/.test(word) && before?.startsWith('--') && options[before.slice(2)]?.placeholder !== undefined) {
      joined[joined.length - 1] = `${before}=${word}`;
    } else joined.push(word);
  }
  return joined;
}

function explain(error: unknown, options: Options): unknown {
  if (!(error instanceof Error)) return error;
  const code = (error as NodeJS.ErrnoException).code;
  const named = /'(-[^'\s]*)/.exec(error.message)?.[1];
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' && named !== undefined) {
    const near = nearest(named.replace(/^-+/, ''), Object.keys(options));
    return new UsageError(`Unknown option ${named}.`, near === undefined ? undefined : `Did you mean --${near}?`);
  }
  if (code === 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE') {
    const option = options[named?.replace(/^-+/, '') ?? ''];
    return option?.placeholder === undefined
      ? new UsageError(`Expected no value for ${named}.`)
      : new UsageError(`Expected ${option.placeholder} for ${named} but received nothing.`);
  }
  return error;
}

/** The nearest name within an edit distance of two. */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const ranked = names.map((name) => ({ name, distance: editDistance(word, name) }));
  ranked.sort((a, b) => a.distance - b.distance);
  return ranked[0] !== undefined && ranked[0].distance <= 2 ? ranked[0].name : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
