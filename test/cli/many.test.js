import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { emoframe } from '../support/cli.js';
import { generator, speechLike, writeWav } from '../support/syntheticRun.js';
import { writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('command line: many files');
const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
let dir;
let model;
const ids = (stdout) =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).id);

test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-many-'));
  model = await writeTinyPredictor(join(dir, 'predictor'));
  const random = generator(2);
  for (const path of ['audio/b.wav', 'audio/deep/a.WAV', 'audio/deep/b.wav', 'c.wav']) {
    mkdirSync(join(dir, path, '..'), { recursive: true });
    writeWav(join(dir, path), speechLike(0.6, random));
  }
  writeFileSync(join(dir, 'audio', 'notes.txt'), 'no audio');
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

const words = (...more) => ['predict', ...more, '--model', model, '--format', 'jsonl', '--no-clusters'];

/** The program with its pipes held open by the test. */
function begin(more) {
  const child = spawn(process.execPath, [program, ...words(...more)], { cwd: dir, stdio: ['pipe', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (part) => {
    stderr += part;
  });
  const end = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, stderr })));
  return { child, end, reported: () => stderr };
}

test('a folder stands for the audio files in and below it; files of one name are distinguished by their paths', async () => {
  const { code, stdout, stderr } = await emoframe(words('c.wav', 'audio'), { cwd: dir });
  assert.is(code, 0, stderr);
  assert.equal(ids(stdout), ['c', join('audio', 'b.wav'), 'a', join('audio', 'deep', 'b.wav')]);
});

test('a list of files comes from a file or from standard input', async () => {
  writeFileSync(join(dir, 'list.txt'), 'c.wav\r\naudio/b.wav\r\n\r\n');
  const { code, stdout, stderr } = await emoframe(words('--list', 'list.txt'), { cwd: dir });
  assert.is(code, 0, stderr);
  assert.equal(ids(stdout), ['c', 'b']);

  const { child, end } = begin(['--list', '-']);
  let piped = '';
  child.stdout.on('data', (part) => {
    piped += part;
  });
  child.stdin.end('audio/deep/a.WAV\nc.wav\n');
  assert.equal(await end, { code: 0, signal: null, stderr: (await end).stderr });
  assert.equal(ids(piped), ['a', 'c']);
});

test('what holds no audio is refused', async () => {
  mkdirSync(join(dir, 'empty'));
  for (const [more, exit, message] of [
    [['empty'], 2, /There is no audio file \(\.wav, \.flac, .*\) in empty\. \(ERR_USAGE\)/],
    [[], 2, /Expected at least one audio file\. \(ERR_USAGE\)/],
    [['--list', 'none.txt'], 1, /There is no file none\.txt\. \(ERR_FILE_NOT_FOUND\)/],
  ]) {
    const { code, stderr } = await emoframe(words(...more), { cwd: dir });
    assert.is(code, exit, stderr);
    assert.match(stderr, message);
  }
});

const many = 200;
const list = `${Array(many).fill('c.wav').join('\n')}\n`;

test('the program waits for a slow reader rather than fill memory with results', async () => {
  const { child, end, reported } = begin(['--list', '-']);
  child.stdin.end(list);
  let stdout = '';
  // Reads a first part, then nothing until the program has stopped working.
  await new Promise((resolve) => child.stdout.once('readable', resolve));
  const used = () => readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(' ').slice(13, 15).map(Number);
  for (let before = [], same = 0; same < 5; ) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = used();
    same = now[0] + now[1] === before[0] + before[1] ? same + 1 : 0;
    before = now;
  }
  assert.not.match(reported(), `predict  ${many}/${many}`);
  child.stdout.on('data', (part) => {
    stdout += part;
  });
  const { code } = await end;
  assert.is(code, 0, reported());
  assert.is(ids(stdout).length, many);
  assert.match(reported(), `predict  ${many}/${many}`);
});

test('a reader that goes away ends the program without complaint', async () => {
  const { child, end } = begin(['--list', '-']);
  child.stdin.end(list);
  child.stdout.once('data', () => child.stdout.destroy());
  const { code, signal, stderr } = await end;
  assert.equal({ code, signal }, { code: 0, signal: null });
  assert.not.match(stderr, 'emoframe:');
  assert.not.match(stderr, `predict  ${many}/${many}`);
});

test.run();
