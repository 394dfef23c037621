import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, copyFileSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('stopping a command');
const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'emoframe-stop-'));
const silent = join(dir, 'silent');
test.before(async () => {
  await writeTinyPredictor(join(dir, 'model'), { clusters: false });
  execFileSync('mkfifo', [silent]);
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('a second signal ends it, even where its threads wait for a disk that does not answer', async () => {
  // Where these files are opened, the system is asked for a pipe instead, for which a thread waits as for a dead mount.
  const stalled = ['a.wav', 'b.wav'].map((name) => join(dir, name));
  for (const path of stalled) copyFileSync(join(fixtures, 'audio', 'voice.wav'), path);
  const hook = `data:text/javascript,${encodeURIComponent(`
    import files from 'node:fs/promises';
    import { syncBuiltinESMExports } from 'node:module';
    const { open } = files;
    files.open = (path, ...rest) => {
      if (!${JSON.stringify(stalled)}.includes(path)) return open(path, ...rest);
      process._rawDebug('waiting');
      return open(${JSON.stringify(silent)});
    };
    syncBuiltinESMExports();
  `)}`;
  const child = spawn(process.execPath, [program, 'predict', ...stalled, '--model', join(dir, 'model')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: `--import ${hook}` },
  });
  const ended = once(child, 'exit');
  let said = '';
  const hears = (wanted) =>
    new Promise((resolve) => {
      const look = () => said.includes(wanted) && resolve();
      child.stderr.on('data', look);
      look();
    });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  try {
    await hears('waiting');
    child.kill('SIGTERM');
    await hears('Stopping after the current step');
    await hears('ERR_ABORTED');
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
    const [, signal] = await ended;
    clearTimeout(late);
    assert.is(signal, 'SIGTERM');
  } finally {
    child.kill('SIGKILL');
    closeSync(openSync(silent, constants.O_RDWR | constants.O_NONBLOCK));
  }
});

test.run();
