#!/usr/bin/env node
import { EmoframeError } from '../errors.js';
import { packageVersion } from '../version.js';
import { cacheCommand } from './cache.js';
import { type Command, type CommandContext, columns, firstOf } from './command.js';
import { corpusCommand } from './corpus.js';
import { demoCommand } from './demo.js';
import { modelCommand } from './describeModel.js';
import { doctorCommand } from './doctor.js';
import { encodeCommand } from './encode.js';
import { exportCommand } from './export.js';
import { modelsCommand } from './models.js';
import { nearest, UsageError } from './options.js';
import { predictCommand } from './predict.js';
import { reportCommand } from './report.js';
import { runCommand } from './run.js';
import { stageCommands } from './stages.js';
import { sweepCommand } from './sweep.js';
import { output, remarks } from './terminal.js';

const commands: Command[] = [
  demoCommand,
  runCommand,
  ...stageCommands,
  sweepCommand,
  encodeCommand,
  predictCommand,
  modelsCommand,
  modelCommand,
  exportCommand,
  corpusCommand,
  cacheCommand,
  reportCommand,
  doctorCommand,
];

function overview(): string[] {
  return [
    'Usage: emoframe COMMAND [arguments] [options]',
    '',
    'Speech emotion recognition with frame-level emotional state alignment.',
    '',
    'Commands:',
    ...columns(commands.map(({ name, summary }) => [name, summary])),
    '',
    'emoframe COMMAND --help explains a command; emoframe --version prints the version.',
    '',
    'Examples:',
    '  emoframe demo',
    '  emoframe predict speech.wav --model superb/hubert-large-superb-er',
    '  emoframe predict speech.wav --model runs/demo/folds/s5/predictor',
  ];
}

function findCommand(name: string): Command {
  const command = commands.find((candidate) => candidate.name === name);
  if (command !== undefined) return command;
  const near = nearest(
    name,
    commands.map((candidate) => candidate.name),
  );
  throw new UsageError(
    `There is no command ${name}.`,
    near === undefined ? 'emoframe --help lists them.' : `Did you mean emoframe ${near}?`,
  );
}

async function main(words: readonly string[]): Promise<void> {
  const [name, ...rest] = words;
  const context = makeContext();
  if (name === undefined) throw new UsageError('Expected a command.', 'emoframe --help lists them.');
  if (name === '--version' || name === '-v') return context.print(packageVersion());
  if (name === '--help' || name === '-h' || name === 'help') {
    return context.print(rest[0] === undefined ? overview() : findCommand(rest[0]).help());
  }
  const command = findCommand(name);
  const end = rest.indexOf('--');
  if ((end < 0 ? rest : rest.slice(0, end)).some((word) => word === '--help' || word === '-h')) {
    return context.print(command.help());
  }
  try {
    await command.run(rest, context);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(error.message, [error.hint, `See emoframe ${name} --help.`].filter(Boolean).join(' '));
  }
}

function makeContext(): CommandContext {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const stop = (name: NodeJS.Signals): void => {
    // The second signal is left to the system: it does not wait for the current step, nor for a thread whose disk does not answer,
    // as even `process.exit` does.
    for (const signal of signals) process.off(signal, stop);
    controller.abort(new Error(name));
    remarks.note(['', 'Stopping after the current step; press Ctrl-C again to stop at once.']);
  };
  for (const signal of signals) process.on(signal, stop);
  return {
    signal: controller.signal,
    print: (lines) => output.print(lines),
    printJson: (value, indent) => output.printJson(value, indent),
    note: (lines) => remarks.note(lines),
  };
}

/** Reports an error in one line, and returns the exit code: 2 for bad usage, else 1. */
function report(thrown: unknown): number {
  const error = firstOf(thrown);
  const debug = process.env.EMOFRAME_DEBUG === '1';
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof EmoframeError ? error.code : 'ERR_UNEXPECTED';
  const lines = [
    `emoframe: ${message
      .split('\n')
      .map((line) => line.trim())
      .join(' ')} (${code})`,
  ];
  if (error instanceof UsageError && error.hint !== undefined) lines.push(error.hint);
  if (debug && error instanceof Error) for (const line of String(error.stack).split('\n')) lines.push(line);
  else if (code === 'ERR_UNEXPECTED') lines.push('Run again with EMOFRAME_DEBUG=1 to see the stack.');
  remarks.note(lines);
  return error instanceof UsageError ? 2 : 1;
}

// A reader that closes early, such as `head`, is not a failure.
output.onClosed(() => process.exit(0));

main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = report(error);
});
