// Runs commands of the program one after another, as `emoframe` does, and tells how each ended. Whatever is left open, or goes
// wrong behind a command's back, is told too.
import { setMaxListeners } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const { EmoframeError } = await import('../../../dist/errors.js');
const { firstOf } = await import('../../../dist/cli/command.js');
const { stageCommands } = await import('../../../dist/cli/stages.js');
const others = await Promise.all(
  ['run', 'sweep', 'report', 'export', 'encode', 'cache', 'predict', 'corpus'].map(async (name) => {
    const commands = await import(`../../../dist/cli/${name}.js`);
    return commands[`${name}Command`];
  }),
);
const commands = new Map([...stageCommands, ...others].map((command) => [command.name, command]));

let behind = [];
for (const event of ['uncaughtException', 'unhandledRejection']) {
  process.on(event, (error) => behind.push(`${event}: ${error?.stack ?? error}`));
}
process.on('warning', ({ name, message }) => {
  // A descriptor that is left open was told of by then.
  if (name !== 'EmoframeWarning' && !message.includes('garbage collection')) behind.push(`warning: ${message}`);
});
// Nothing of a command's progress is looked at here.
process.stderr.write = () => true;

/** Descriptors of this process that lead into the directory: number → path. */
function openIn(directory) {
  const open = new Map();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      const path = readlinkSync(`/proc/self/fd/${name}`);
      if (path.startsWith(`${directory}/`)) open.set(name, path);
    } catch {
      // That of reading this list.
    }
  }
  return open;
}

async function run({ words: [name, ...rest], place, environment }) {
  behind = [];
  const openBefore = openIn(place);
  Object.assign(process.env, environment);
  const { signal } = new AbortController();
  setMaxListeners(0, signal);
  let printed = '';
  const print = async (text) => {
    printed += `${text}\n`;
  };
  const printJson = (value, indent = 2) => print(JSON.stringify(value, null, indent));
  const context = { signal, print, printJson, note: () => undefined };
  let line;
  try {
    await commands.get(name).run(rest, context);
  } catch (thrown) {
    // As lib/cli/main.ts shows it.
    const error = firstOf(thrown);
    const code = error instanceof EmoframeError ? error.code : 'ERR_UNEXPECTED';
    line = `emoframe: ${(error?.message ?? String(error)).replace(/\s*\n\s*/g, ' ')} (${code})`;
    if (code === 'ERR_UNEXPECTED') behind.push(error?.stack ?? String(error));
  }
  // What a command did not wait for shows itself now.
  await sleep(5);
  for (const [name, path] of openIn(place)) if (!openBefore.has(name)) behind.push(`left open: ${path}`);
  return { code: line === undefined ? 0 : 1, line, behind, printed };
}

process.on('message', async (request) => process.send(await run(request)));
process.send('ready');
