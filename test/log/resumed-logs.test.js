import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { JsonlLog } from '../../dist/log/jsonl.js';
import { TensorBoardLog } from '../../dist/log/tensorboard.js';
import { StageLog } from '../../dist/pipeline/stageLog.js';
import { shownPoints } from '../support/eventFiles.js';
import { jsonLines } from '../support/jsonLines.js';

const test = suite('logs of a resumed run');
let scratch;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-resumed-'));
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

test('records are taken back, the others stay as they were written, and the log goes on', async () => {
  const path = join(scratch, 'log.jsonl');
  writeFileSync(path, '{"step": 1}\n{"step":2}\n{"step":3, "loss":0.10}\n');
  const log = JsonlLog.open(path);
  await log.retain(({ step }) => step !== 2);
  log.write({ step: 4 });
  await log.close();
  assert.is(readFileSync(path, 'utf8'), '{"step": 1}\n{"step":3, "loss":0.10}\n{"step":4}\n');
  assert.equal(readdirSync(scratch), ['log.jsonl']);
});

test('lines that a power cut made unreadable are dropped', async () => {
  const path = join(scratch, 'log.jsonl');
  writeFileSync(path, `{"step":1}\n${'\0'.repeat(9)}\n{"st\n7\n{"step":2}\n{"cut`);
  const log = JsonlLog.open(path);
  await log.retain(() => true);
  await log.close();
  assert.equal(jsonLines(path), [{ step: 1 }, { step: 2 }]);
});

test('an event file that begins again takes back the points of earlier files from its first step on', async () => {
  const before = TensorBoardLog.open(scratch);
  for (const step of [1, 2, 3, 4]) before.scalar('loss', step, step);
  await before.close();
  const after = TensorBoardLog.open(scratch, { firstStep: 3 });
  after.scalar('loss', 3, 30);
  await after.sync();
  assert.equal(shownPoints(scratch), [
    ['loss', 1, 1],
    ['loss', 2, 2],
    ['loss', 3, 30],
  ]);
  await after.close();
});

test("a stage that goes on from a training state says nothing twice, and leaves other stages' and folds' words alone", async () => {
  const path = join(scratch, 'log.jsonl');
  const log = JsonlLog.open(path);
  const stageLog = (fold, stage) =>
    new StageLog({ fold, stage }, log, join(scratch, 'board', fold, stage), {}, () => {});
  const speak = (of, from, to) => {
    for (let step = from; step <= to; step++) of.log(step, 6, { loss: step / 2 });
  };
  const others = [stageLog('s1', 'tapt'), stageLog('s2', 'finetune')];
  for (const other of others) speak(other, 1, 6);
  const killed = stageLog('s1', 'finetune');
  await killed.continueFrom(0);
  speak(killed, 1, 5);
  const resumed = stageLog('s1', 'finetune');
  await resumed.continueFrom(3);
  speak(resumed, 4, 6);
  await resumed.sync();
  const stepsOf = (fold, stage) =>
    jsonLines(path)
      .filter((row) => row.fold === fold && row.stage === stage)
      .map(({ step }) => step);
  for (const [fold, stage] of [
    ['s1', 'tapt'],
    ['s2', 'finetune'],
    ['s1', 'finetune'],
  ]) {
    assert.equal(stepsOf(fold, stage), [1, 2, 3, 4, 5, 6], `${fold} ${stage}`);
    const points = shownPoints(join(scratch, 'board', fold, stage));
    assert.equal(
      points,
      [1, 2, 3, 4, 5, 6].map((step) => [`${stage}/loss`, step, step / 2]),
      `${fold} ${stage}`,
    );
  }
  for (const open of [...others, killed, resumed, log]) await open.close();
});

test('a warning reaches the caller, or else stderr, and is kept in the log', async () => {
  const path = join(scratch, 'log.jsonl');
  const log = JsonlLog.open(path);
  const warnings = [];
  const where = { fold: 's1', stage: 'tapt' };
  new StageLog(where, log, scratch, { onWarning: (warning) => warnings.push(warning) }).warn('step-3 is damaged');
  assert.equal(warnings, [{ ...where, message: 'step-3 is damaged' }]);
  const emitted = new Promise((resolve) => process.once('warning', resolve));
  new StageLog(where, log, scratch, {}).warn('step-5 is damaged');
  assert.is((await emitted).message, 'step-5 is damaged');
  await log.retain(({ step }) => !(step > 0));
  await log.close();
  assert.equal(
    jsonLines(path).map(({ warning }) => warning),
    ['step-3 is damaged', 'step-5 is damaged'],
  );
});

test.run();
