import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, parseConfig, readCorpus, Trainer } from '../../dist/index.js';
import { refused } from '../support/refused.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';

const test = suite('trainer');
let dir;
let corpus;
const config = parseConfig(tinyConfig);
const opened = [];
const open = async (name, more = {}) => {
  const trainer = await Trainer.open({ corpus, out: join(dir, name), config, threads: 1, ...more });
  opened.push(trainer);
  return trainer;
};
const call = { folds: ['s1'] };

test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-trainer-'));
  corpus = await readCorpus(writeTinyCorpus(join(dir, 'corpus')));
});
test.after.each(async () => {
  for (const trainer of opened.splice(0)) await trainer.dispose();
});
test.after(() => rm(dir, { recursive: true, force: true }));

test('one trainer takes a fold through every stage, in order, and its predictor loads', async () => {
  const trainer = await open('stages');
  assert.equal(
    trainer.folds.map(({ name }) => name),
    ['s1', 's2', 's3'],
  );
  assert.equal(trainer.labels, ['angry', 'neutral']);
  assert.equal(trainer.stages, ['mfcc', 'tapt', 'finetune', 'cluster', 'pretrain', 'align', 'timeline', 'evaluate']);
  await refused(trainer.cluster(call), 'ERR_STAGE', /needs stage finetune/);
  const seen = new Set();
  let summary;
  for (const stage of trainer.stages) {
    summary = await trainer[stage]({ ...call, onProgress: (event) => seen.add(`${event.fold}/${event.stage}`) });
    assert.ok((await readdir(join(dir, 'stages', 'folds', 's1', stage))).includes('done.json'), stage);
  }
  assert.equal(
    [...seen],
    trainer.stages.map((stage) => `s1/${stage}`),
  );
  assert.equal(
    summary.folds.map(({ name, utterances }) => [name, utterances]),
    [['s1', 8]],
  );
  // What this trainer did itself it may look at again without being asked to resume.
  assert.equal(await trainer.run(call), summary);
  const [{ fold, rows }] = await trainer.sweep({ layers: [1], clusters: [3] }, call);
  assert.is(fold, 's1');
  assert.equal([rows.length, rows[0].layer, rows[0].clusters], [1, 1, 3]);
  const model = await EmotionModel.load(trainer.predictorDir('s1'));
  assert.equal(model.labels, trainer.labels);
  await model.dispose();
});

test('what another trainer began goes on only when asked to resume, and only as it was begun', async () => {
  const stranger = await open('stages');
  await refused(stranger.run(call), 'ERR_RUN_EXISTS', /Stage mfcc of fold s1 .*resume: true/);
  await refused(stranger.tapt(call), 'ERR_RUN_EXISTS', /Stage tapt of fold s1/);
  await stranger.dispose();
  const resumed = await open('stages', { resume: true });
  assert.is((await resumed.run(call)).folds.length, 1);
  await resumed.dispose();
  await refused(
    open('stages', { config: { ...config, seed: 8 } }),
    'ERR_RUN_MISMATCH',
    /config\.seed = 1, but now it is 8/,
  );
  await writeFile(join(dir, 'notes.txt'), 'mine');
  await refused(open('.'), 'ERR_RUN_EXISTS', /is not a run/);
});

test('a run that separates emotions from neutral is refused without a neutral class, before it leaves anything', async () => {
  const calm = corpus.utterances.map(({ segments: _, ...utterance }) => ({
    ...utterance,
    label: utterance.label === 'neutral' ? 'calm' : utterance.label,
  }));
  const named = { corpus: { ...corpus, utterances: calm } };
  await refused(open('no-neutral', named), 'ERR_CONFIG', /align\.objective 'both'.*no label 'neutral'.*neutralLabel/);
  assert.not.ok(existsSync(join(dir, 'no-neutral')));
  const attention = await open('attention', {
    ...named,
    config: parseConfig({ ...tinyConfig, align: { ...tinyConfig.align, objective: 'attention' } }),
  });
  assert.equal([attention.labels, attention.stages.includes('timeline')], [['angry', 'calm'], false]);
  await refused(attention.timeline(call), 'ERR_STAGE', /not part of this run, whose align\.objective is 'attention'/);
});

test('calls are queued, a call is stopped by its own signal alone, and dispose stops the one in hand', async () => {
  const trainer = await open('queued');
  const order = [];
  const controller = new AbortController();
  const stopped = refused(
    trainer.mfcc({
      ...call,
      signal: controller.signal,
      onProgress: ({ done, message }) => {
        order.push('first');
        if (message === undefined && done >= 1) controller.abort();
      },
    }),
    'ERR_ABORTED',
    /stopped/,
  );
  const second = trainer.mfcc({ ...call, onProgress: () => order.push('second') });
  await stopped;
  await second;
  assert.equal(order.indexOf('second'), order.lastIndexOf('first') + 1);

  let running;
  const begun = new Promise((resolve) => {
    running = refused(trainer.tapt({ ...call, onProgress: resolve }), 'ERR_ABORTED', /stopped/);
  });
  const waiting = refused(trainer.finetune(call), 'ERR_DISPOSED', /open the run again/);
  const unwanted = new AbortController();
  const given = refused(trainer.finetune({ ...call, signal: unwanted.signal }), 'ERR_ABORTED', /stopped/);
  await begun;
  // What waits does not wait for what is under way.
  let over = false;
  running.then(() => {
    over = true;
  });
  unwanted.abort();
  await given;
  assert.not.ok(over);
  await trainer.dispose();
  await trainer.dispose();
  await running;
  await waiting;
  await refused(trainer.run(call), 'ERR_DISPOSED', /open the run again/);
});

test('wrong options say what was expected and received', async () => {
  for (const [more, pattern] of [
    [{ resume: 'yes' }, /a boolean for resume but received/],
    [{ corpus: join(dir, 'corpus') }, /Expected a corpus/],
    [{ config: {} }, /a config from parseConfig/],
    [{ fold: ['s1'] }, /no option 'fold'/],
    [{ folds: ['s1'] }, /Expected an object for folds\.0/],
    [{ precision: 'half' }, /'fp32', 'tf32', 'bf16'/],
  ])
    await refused(open('wrong', more), 'ERR_ARGUMENT', pattern);
  await refused(open('wrong', { device: 'cuda:x' }), 'ERR_DEVICE', /cpu/);
  const advice = /cpu computes in fp32 or bf16, but not in tf32.*precision fp32.*cuda:N/;
  await refused(open('wrong', { precision: 'tf32' }), 'ERR_DEVICE_UNSUPPORTED', advice);
  assert.not(existsSync(join(dir, 'wrong')));
  const trainer = await open('options');
  await refused(trainer.run({ folds: 's1' }), 'ERR_ARGUMENT', /an array for folds/);
  await refused(trainer.run({ folds: ['s9'] }), 'ERR_FOLDS', /no fold s9.*s1, s2, s3/);
  await refused(trainer.tapt({ folds: [] }), 'ERR_FOLDS', /No fold/);
  await refused(trainer.sweep({ layers: [], clusters: [2] }), 'ERR_ARGUMENT', /at least 1 items for layers/);
  assert.throws(
    () => trainer.predictorDir('s9'),
    (error) => error.code === 'ERR_FOLDS',
  );
});

test.run();
