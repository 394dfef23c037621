import { spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { crc32c } from '../../dist/log/crc32c.js';
import { JsonlLog } from '../../dist/log/jsonl.js';
import { TensorBoardLog } from '../../dist/log/tensorboard.js';
import { frames, message } from '../support/eventFiles.js';
import { jsonLines } from '../support/jsonLines.js';

let scratch;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-log-'));
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

const refused = (call, code, pattern) =>
  assert.throws(call, (error) => error.code === code && pattern.test(error.message));

test('records are lines, in order, and there as soon as they are written', async () => {
  const path = join(scratch, 'deep', 'log.jsonl');
  const log = JsonlLog.open(path);
  log.write({ step: 1, text: 'ä\n' });
  log.write({ step: 2, loss: Number.NaN });
  assert.equal(jsonLines(path), [
    { step: 1, text: 'ä\n' },
    { step: 2, loss: null },
  ]);
  await log.close();
  await log.close();
  refused(() => log.write({}), 'ERR_DISPOSED', /closed/);
});

test('what drives a terminal is escaped in a log, and read as it was', async () => {
  const text = '\u001b[2J\u009b2J\u202e\u007f\ud800';
  const path = join(scratch, 'log.jsonl');
  const log = JsonlLog.open(path);
  log.write({ [text]: text });
  await log.close();
  assert.match(readFileSync(path, 'utf8'), /^[ -~]+\n$/);
  assert.equal(jsonLines(path), [{ [text]: text }]);
  const board = TensorBoardLog.open(scratch);
  board.scalar(`loss/${text}`, 1, 2);
  await board.close();
  const [events] = readdirSync(scratch).filter((name) => name.startsWith('events'));
  assert.ok(readFileSync(join(scratch, events)).includes('loss/\\u001b[2J\\u009b2J\\u202e\\u007f\\ud800'));
});

test('a log goes on where it ended', async () => {
  const path = join(scratch, 'log.jsonl');
  for (const step of [1, 2]) {
    const log = JsonlLog.open(path);
    log.write({ step });
    await log.close();
  }
  assert.equal(jsonLines(path), [{ step: 1 }, { step: 2 }]);
});

for (const [what, tail] of [
  ['a few bytes', '{"step":2,"lo'],
  ['more than a part of the search', `{"text":"${'x'.repeat(200_000)}`],
]) {
  test(`a last line cut short after ${what} is removed`, async () => {
    const path = join(scratch, 'log.jsonl');
    writeFileSync(path, '{"step":1}\n');
    appendFileSync(path, tail);
    const log = JsonlLog.open(path);
    log.write({ step: 2 });
    await log.close();
    assert.equal(jsonLines(path), [{ step: 1 }, { step: 2 }]);
  });
}

test('a log of nothing but a cut line begins anew', async () => {
  const path = join(scratch, 'log.jsonl');
  writeFileSync(path, '{"st');
  await JsonlLog.open(path).close();
  assert.is(statSync(path).size, 0);
});

test('a killed process loses no record', async () => {
  const path = join(scratch, 'log.jsonl');
  const module = new URL('../../dist/log/jsonl.js', import.meta.url).href;
  const program = `
    import { JsonlLog } from ${JSON.stringify(module)};
    const log = JsonlLog.open(${JSON.stringify(path)});
    for (let step = 0; step < 500; step++) log.write({ step });
    process.kill(process.pid, 'SIGKILL');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program]);
  await new Promise((resolve) => child.on('exit', resolve));
  assert.equal(
    jsonLines(path),
    Array.from({ length: 500 }, (_, step) => ({ step })),
  );
});

test('a place that cannot be written is refused', () => {
  writeFileSync(join(scratch, 'file'), '');
  refused(() => JsonlLog.open(join(scratch, 'file', 'log.jsonl')), 'ERR_WRITE', /log\.jsonl/);
  refused(() => JsonlLog.open(scratch), 'ERR_WRITE', /directory/);
  refused(() => TensorBoardLog.open(join(scratch, 'file')), 'ERR_WRITE', /file/);
});

test('CRC-32C has the value of RFC 3720 and of the usual check', () => {
  assert.is(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.is(crc32c(new Uint8Array(32)), 0x8a9136aa);
});

test('an event file is one of version 2 and holds each scalar with its tag, step, value and time', async () => {
  const board = TensorBoardLog.open(join(scratch, 'board'));
  const tag = `tapt/${'ä'.repeat(80)}`;
  board.scalar('loss', 0, 0.5);
  board.scalar(tag, 2 ** 33 + 5, -1e-3);
  await board.close();
  refused(() => board.scalar('loss', 1, 0), 'ERR_DISPOSED', /closed/);
  const [name] = readdirSync(join(scratch, 'board'));
  assert.match(name, /^events\.out\.tfevents\.\d{10}\./);
  const events = frames(readFileSync(join(scratch, 'board', name))).map(message);
  assert.is(events.length, 3);
  assert.is(events[0][3].toString(), 'brain.Event:2');
  for (const event of events) assert.ok(Math.abs(event[1] - Date.now() / 1000) < 60);
  const scalars = events.slice(1).map((event) => {
    const value = message(message(event[5])[1]);
    return [value[1].toString(), event[2], value[2]];
  });
  assert.equal(scalars, [
    ['loss', 0, 0.5],
    [tag, 2 ** 33 + 5, Math.fround(-1e-3)],
  ]);
});

test('two logs of one directory do not share a file', async () => {
  const boards = [TensorBoardLog.open(scratch), TensorBoardLog.open(scratch)];
  for (const board of boards) await board.close();
  assert.is(readdirSync(scratch).length, 2);
});

test.run();
