import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseJson } from '../../dist/files/json.js';
import { EmoframeError, parseConfig, parseHubertConfig, readConfig, readCorpus } from '../../dist/index.js';
import { openRunDirectory } from '../../dist/run/directory.js';
import { refusal, refused } from '../support/refused.js';
import { readTorch } from '../support/torchFile.js';

const fixtures = fileURLToPath(new URL('../fixtures/checkpoints/', import.meta.url));
let scratch;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-messages-'));
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

const put = (name, content) => {
  const path = join(scratch, name);
  writeFileSync(path, content);
  return path;
};
const nested = (depth) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

test('a message cannot drive the terminal, turn text around or pretend to be two lines', () => {
  const { message } = new EmoframeError('ERR_AUDIO', 'a\u001b[2J\u0007b\u202ec\r\nd\u009be');
  assert.is(message, 'a\\u001b[2J\\u0007b\\u202ec\\u000d d\\u009be');
});

test('a message keeps its start and its end, however much it quotes', () => {
  for (const filler of ['x', '\u0001']) {
    const { message } = new EmoframeError('ERR_AUDIO', `The file ${filler.repeat(100_000)} is bad: delete it.`);
    assert.ok(message.length <= 2010, String(message.length));
    assert.match(message, /^The file .* … .* is bad: delete it\.$/);
  }
});

test('reasons for leaving out rows of a manifest are as safe', async () => {
  const sound = put('sound.wav', '');
  const bad = { audio: `a\u001b[2J${'x'.repeat(9000)}` };
  const { problems } = await readCorpus(put('m.jsonl', `${JSON.stringify(bad)}\n${JSON.stringify({ audio: sound })}`));
  assert.is(problems.length, 1);
  assert.match(problems[0].reason, /^there is no audio file .*\\u001b\[2J/);
  assert.ok(problems[0].reason.length <= 2010);
});

test('JSON may nest 100 deep, and no deeper: brackets inside strings do not count', async () => {
  assert.equal(await parseJson(`{"a":${JSON.stringify('[{"\\'.repeat(500))}}`), { a: '[{"\\'.repeat(500) });
  assert.ok(await parseJson(nested(100)));
  assert.match((await refusal(parseJson(nested(101)))).message, /nests more than 100 deep/);
});

test('a value that nests beyond any stack is refused wherever it stands', async () => {
  const deep = nested(200_000);
  await refused(readConfig(put('c.json', `{"seed":${deep}}`)), 'ERR_CONFIG', /c\.json: It nests more than 100 deep\.$/);
  await refused(readCorpus(put('m.jsonl', `{"audio":"a.wav","start":${deep}}`)), 'ERR_CORPUS', /nests more than 100/);
});

test('a value made by the caller that nests or turns on itself is shown without falling over', () => {
  const loop = {};
  loop.self = loop;
  assert.throws(
    () => parseConfig({ seed: loop }),
    (error) =>
      error.code === 'ERR_CONFIG' && /for seed but received an object that cannot be shown/.test(error.message),
  );
});

test('a wrong preset names the file that asks for it', async () => {
  const path = put('c.json', '{"preset":"fast"}');
  const error = await refused(readConfig(path), 'ERR_CONFIG', /Expected one of paper, demo, sed .*c\.json.*"fast"/);
  assert.is(error.file, path);
});

test('what is wrong with many fields is shown for three', async () => {
  const fields = { conv_dim: 'x', conv_kernel: 1, conv_stride: 2, hidden_size: -1, num_attention_heads: 0.5 };
  assert.throws(() => parseHubertConfig(fields, 'config.json'), /config\.json: /);
  const header = JSON.stringify({ a: { dtype: 1, shape: new Array(9).fill('x'), data_offsets: 0 } });
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(header.length));
  const path = put('bad.safetensors', Buffer.concat([prefix, Buffer.from(header)]));
  const { readSafetensors } = await import('../../dist/index.js');
  await refused(readSafetensors(path), 'ERR_CHECKPOINT', /tensor a: dtype: .*; shape\.0: .*; shape\.1: .*; and 8 more/);
});

test('a run whose files hold something else is refused by name', async () => {
  const request = {
    config: parseConfig({}),
    model: null,
    corpus: { name: 'c', utterances: [], problems: [] },
    folds: [],
    skipped: [],
  };
  const run = await openRunDirectory(join(scratch, 'run'), async () => request, { versions: { emoframe: '0.1.0' } });
  run.release();
  for (const content of ['[]', '{"utterances":7}', '{"utterances":[null]}', '{', nested(500)]) {
    writeFileSync(run.corpus, content);
    await refused(
      openRunDirectory(run.dir, async () => request, {}),
      'ERR_RUN_MISMATCH',
      /corpus\.json cannot be used \(.*\)/,
    );
  }
});

test('an archive that points far outside of itself is an error and not the end of the process', async () => {
  const whole = readFileSync(join(fixtures, 'views.bin'));
  const end = whole.lastIndexOf(Buffer.from('PK\u0005\u0006', 'latin1'));
  const tail = Buffer.from(whole.subarray(end));
  // The place of the directory is said to be in a record that lies at 2^63.
  tail.fill(0xff, 8, 20);
  const locator = Buffer.alloc(20);
  locator.write('PK\u0006\u0007', 'latin1');
  locator.writeBigUInt64LE(2n ** 63n, 8);
  locator.writeUInt32LE(1, 16);
  const path = put('far.bin', Buffer.concat([whole.subarray(0, end), locator, tail]));
  await refused(readTorch(path), 'ERR_CHECKPOINT', /far\.bin .* bytes outside of itself/);
});

test.run();
