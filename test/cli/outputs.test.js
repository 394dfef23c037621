// What becomes of a command whose outputs cannot be written to: one line and an exit code, and never a stack.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { writeSyntheticRun } from '../support/syntheticRun.js';
import { writeTinyCorpus } from '../support/tinyCorpus.js';

const test = suite('outputs of the program');
const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const fixtures = fileURLToPath(new URL('../fixtures', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'emoframe-outputs-'));
const manifest = writeTinyCorpus(join(dir, 'corpus'));
const audio = join(dir, 'corpus', 's1_0.wav');
test.after(() => rmSync(dir, { recursive: true, force: true }));

/** Runs the program with these outputs: 'pipe', 'full' (a disk without space), or 'shut' (a pipe that nobody reads). */
async function run(words, { stdout = 'pipe', stderr = 'pipe' }) {
  const full = openSync('/dev/full', 'w');
  const kinds = { pipe: 'pipe', shut: 'pipe', full };
  const child = spawn(process.execPath, [program, ...words], { stdio: ['ignore', kinds[stdout], kinds[stderr]] });
  if (stdout === 'shut') child.stdout.destroy();
  if (stderr === 'shut') child.stderr.destroy();
  let errors = '';
  if (stderr === 'pipe')
    child.stderr.on('data', (part) => {
      errors += part;
    });
  if (stdout === 'pipe') child.stdout.resume();
  const [code] = await once(child, 'close');
  closeSync(full);
  return { code, errors };
}

test('every command that prints says in one line that its output cannot be written', async () => {
  const made = join(dir, 'run');
  writeSyntheticRun(made);
  const model = join(fixtures, 'encode', 'base');
  const commands = [
    ['--version'],
    ['--help'],
    ['models', '--json'],
    ['model', model],
    ['doctor'],
    ['corpus', manifest],
    ['report', made],
    ['encode', audio, '--model', model, '--out', join(dir, 'features'), '--threads', '1'],
    ['export', model, '--format', 'hf', '--out', join(dir, 'exported')],
  ];
  const outcomes = [];
  const lane = async () => {
    for (let words = commands.pop(); words !== undefined; words = commands.pop())
      outcomes.push([words[0], await run(words, { stdout: 'full' })]);
  };
  await Promise.all([lane(), lane()]);
  for (const [name, { code, errors }] of outcomes) {
    assert.is(code, 1, `${name}: ${errors}`);
    const lines = errors.trimEnd().split('\n');
    assert.is(
      lines.at(-1),
      'emoframe: Could not write to the standard output: the disk is full; free some space and try again. (ERR_WRITE)',
    );
    assert.not.match(errors, /^\s+at /m, name);
  }
});

test('a reader that closes its pipe is no failure', async () => {
  const { code, errors } = await run(['models', '--json'], { stdout: 'shut' });
  assert.is(code, 0);
  assert.is(errors, '');
});

test('remarks that cannot be written change nothing of how a command ends', async () => {
  assert.is((await run(['nonsense'], { stderr: 'full' })).code, 2);
  assert.is((await run(['nonsense'], { stderr: 'shut' })).code, 2);
  assert.is((await run(['--version'], { stderr: 'full', stdout: 'full' })).code, 1);
});

test.run();
