import { largestOf } from '../lists.js';
import { oneLine } from '../quote.js';
import type { Options, Values } from './options.js';
import { flag, readArguments } from './options.js';
import type { Lines } from './terminal.js';

/** What a command works with besides its arguments. */
export interface CommandContext {
  /** Fires on Ctrl-C and on SIGTERM. */
  signal: AbortSignal;
  /** Writes lines of a result to stdout; waits for a slow reader. */
  print(lines: Lines): Promise<void>;
  /** Writes a result as JSON over several lines, or with `indent` 0 on one. */
  printJson(value: unknown, indent?: number): Promise<void>;
  /** Writes lines of remarks to stderr. */
  note(lines: Lines): void;
}

/** One command of the program. */
export interface Command {
  name: string;
  /** One line for the list of commands. */
  summary: string;
  /** In lines. */
  help(): string[];
  run(words: readonly string[], context: CommandContext): Promise<void>;
}

interface Definition<O extends Options> {
  name: string;
  summary: string;
  /** What follows the name, e.g. `AUDIO...`. */
  arguments: string;
  /** A few sentences for the help. */
  description: string;
  options: O;
  /** Lines a user can try. */
  examples: string[];
  run(
    positionals: string[],
    values: Values<O & { json: ReturnType<typeof flag> }>,
    context: CommandContext,
  ): Promise<void>;
}

const common = { json: flag('results as JSON on stdout') };

/** Makes a command; every one has `--json` and `--help`. */
export function defineCommand<O extends Options>(definition: Definition<O>): Command {
  const options = { ...definition.options, ...common };
  const lines: [string, string][] = [
    ...Object.entries<Options[string]>(options).map(([name, option]): [string, string] => [
      `--${name}${option.placeholder === undefined ? '' : ` ${option.placeholder}`}`,
      `${option.help}${option.required ? ' (required)' : ''}`,
    ]),
    ['--help', 'this text'],
  ];
  return {
    name: definition.name,
    summary: definition.summary,
    help: () => [
      `Usage: emoframe ${[definition.name, definition.arguments, '[options]'].filter((part) => part !== '').join(' ')}`,
      '',
      ...definition.description.split('\n'),
      '',
      'Options:',
      ...columns(lines),
      '',
      'Examples:',
      ...definition.examples.map((example) => `  ${example}`),
    ],
    run: async (words, context) => {
      const { positionals, values } = readArguments(words, options);
      await definition.run(positionals, values as Parameters<typeof definition.run>[1], context);
    },
  };
}

/** Two columns, indented, of text as it is shown. */
export function columns(lines: readonly [string, string][]): string[] {
  const shown = lines.map(([left, right]): [string, string] => [oneLine(left), right]);
  const width = largestOf(shown.map(([left]) => left.length));
  return shown.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}

/** What went wrong first, where freeing things at the end failed too. */
export function firstOf(error: unknown): unknown {
  return error instanceof Error && error.name === 'SuppressedError' && 'suppressed' in error
    ? firstOf(error.suppressed)
    : error;
}
