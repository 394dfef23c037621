import type { Options, Values } from './options.js';
import { flag, readArguments } from './options.js';

/** What a command works with besides its arguments. */
export interface CommandContext {
  /** Fires on Ctrl-C and on SIGTERM. */
  signal: AbortSignal;
  /** Writes a result and a newline to stdout; waits for a slow reader. */
  print(text: string): Promise<void>;
  /** Writes a remark and a newline to stderr. */
  note(text: string): void;
}

/** One command of the program. */
export interface Command {
  name: string;
  /** One line for the list of commands. */
  summary: string;
  help(): string;
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
    help: () =>
      [
        `Usage: emoframe ${[definition.name, definition.arguments, '[options]'].filter((part) => part !== '').join(' ')}`,
        '',
        definition.description,
        '',
        'Options:',
        ...columns(lines),
        '',
        'Examples:',
        ...definition.examples.map((example) => `  ${example}`),
      ].join('\n'),
    run: async (words, context) => {
      const { positionals, values } = readArguments(words, options);
      await definition.run(positionals, values as Parameters<typeof definition.run>[1], context);
    },
  };
}

/** Two columns, indented. */
export function columns(lines: readonly [string, string][]): string[] {
  const width = Math.max(...lines.map(([left]) => left.length));
  return lines.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
