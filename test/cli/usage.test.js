import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { emoframe } from '../support/cli.js';

const test = suite('command line: usage');
const commands = [
  ...['demo', 'run', 'mfcc', 'tapt', 'finetune', 'cluster', 'pretrain', 'align', 'evaluate'],
  ...['encode', 'predict', 'models', 'model', 'export', 'corpus', 'report', 'doctor'],
];

test('help lists every command on stdout', async () => {
  const { code, stdout, stderr } = await emoframe(['--help']);
  assert.is(code, 0);
  assert.is(stderr, '');
  for (const name of commands) assert.match(stdout, new RegExp(`^  ${name} `, 'm'));
});

test('every command explains itself, with --json and an example, whatever else it is given', async () => {
  for (const name of commands) {
    const { code, stdout, stderr } = await emoframe([name, '--nonsense', '--help']);
    assert.is(code, 0, name);
    assert.is(stderr, '');
    assert.match(stdout, `Usage: emoframe ${name}`);
    assert.match(stdout, '--json');
    assert.match(stdout, new RegExp(`Examples:\n  emoframe ${name}`));
  }
});

test('the version is the package’s', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url)));
  assert.is((await emoframe(['--version'])).stdout, `${version}\n`);
});

/** Words, then what the first line on stderr must hold. */
const mistakes = [
  [[], 'Expected a command.'],
  [['encod', 'a.wav'], 'There is no command encod.', 'Did you mean emoframe encode?'],
  [['encode', 'a.wav', '--layer', '-3'], 'Expected non-negative integer for --layer but received -3'],
  [['encode', 'a.wav', '--layer=1.5', '--model', 'm'], 'Expected non-negative integer for --layer but received 1.5'],
  [['encode', 'a.wav', '--layer', '--model', 'm'], 'Expected N for --layer but received nothing.'],
  [['encode', 'a.wav'], 'Expected --model MODEL but it is missing.'],
  [['tapt', 'c.jsonl', '--out', 'o', '--revision', 'main'], 'Expected --model with --revision'],
  [['encode', '--model', 'm'], 'Expected at least one audio file.'],
  [['encode', 'a.wav', '--modle', 'm'], 'Unknown option --modle.', 'Did you mean --model?'],
  [['encode', 'x/a.wav', 'y/a.flac', '--model', 'm'], 'x/a.wav and y/a.flac would both be written to a.npy.'],
  [['predict', 'a.wav', '--model', 'm', '--format', 'xml'], 'Expected one of text, json, jsonl for --format'],
  [['predict', 'a.wav', '--model', 'm', '--json=yes'], 'Expected no value for --json.'],
  [['predict', 'a.wav', '--model', 'm', '--precision', 'fp16'], 'Expected one of fp32, tf32, bf16 for --precision'],
  [['demo', '--minutes', 'many'], 'Expected positive number for --minutes but received many'],
  [['corpus'], 'Expected at least one corpus.'],
  [['run', '--out', 'o'], 'Expected at least one corpus.'],
  [['run', 'a', 'b', '--dataset', 'esd', '--out', 'o'], 'Expected no --dataset for several corpora: write esd=DIR'],
  [['corpus', 'a', '--test', 'b', '--audio-root', 'c'], 'Expected no --audio-root for several corpora'],
];

for (const [words, message, hint] of mistakes) {
  test(`bad usage is refused with a hint: ${words.join(' ')}`, async () => {
    const { code, stdout, stderr } = await emoframe(words);
    assert.is(code, 2);
    assert.is(stdout, '');
    const [first, second] = stderr.split('\n');
    assert.match(first, /^emoframe: .*\(ERR_USAGE\)$/);
    assert.match(first, message);
    assert.match(second, hint ?? '--help');
  });
}

test('a failure is one line on stderr with its code, and exit code 1', async () => {
  const { code, stdout, stderr } = await emoframe(['corpus', '/nowhere.jsonl']);
  assert.is(code, 1);
  assert.is(stdout, '');
  assert.match(stderr, /^emoframe: [^\n]*\/nowhere\.jsonl[^\n]* \(ERR_FILE_NOT_FOUND\)\n$/);
});

test('a stack is shown only when asked for', async () => {
  const { stderr } = await emoframe(['corpus', '/nowhere.jsonl'], { env: { EMOFRAME_DEBUG: '1' } });
  assert.match(stderr, /\n\s+at /);
});

test('doctor shows what the build and the machine can do', async () => {
  const { code, stdout } = await emoframe(['doctor', '--json']);
  assert.is(code, 0);
  const reported = JSON.parse(stdout);
  assert.is(reported.node, process.version);
  assert.ok(reported.backends.includes('cpu'));
  assert.ok(reported.cpu.threads >= 1);
  assert.type(reported.cpu.bf16, 'boolean');
  assert.match(reported.cpu.library, 'oneDNN');
  assert.ok(reported.cuda.devices.length > 0 || reported.cuda.reason.length > 0);
  const text = (await emoframe(['doctor'])).stdout;
  for (const part of [reported.version, reported.cpu.library, 'bf16', 'tf32', 'threads', 'cuda'])
    assert.match(text, part);
});

test.run();
