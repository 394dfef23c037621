// What a finished stage left is looked at before it is used: a byte that changed on the disk is found and named, with what to
// do, and what is to be done brings the run to the bits of an undisturbed one.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseConfig, readCorpus, Trainer } from '../../dist/index.js';
import { stageNames } from '../../dist/run/stages.js';
import { refused } from '../support/refused.js';
import { differences, runContents } from '../support/runContents.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';

const test = suite('damaged results');
const dir = mkdtempSync(join(tmpdir(), 'emoframe-damaged-'));
const undisturbed = join(dir, 'undisturbed', 'run');
const config = parseConfig(tinyConfig);
let corpus;

async function run(out) {
  const trainer = await Trainer.open({ corpus, out, config, threads: 1, resume: true });
  try {
    return await trainer.run({ folds: ['s1'] });
  } finally {
    await trainer.dispose();
  }
}

/** A copy of the run as it was before a stage. */
function runBefore(name, stage) {
  const out = join(dir, name, 'run');
  cpSync(undisturbed, out, { recursive: true });
  const undone = stageNames.slice(stageNames.indexOf(stage));
  for (const later of undone) rmSync(join(out, 'folds', 's1', later), { recursive: true });
  if (undone.includes('timeline')) rmSync(join(out, 'folds', 's1', 'predictor'), { recursive: true });
  return out;
}

/** Changes one bit in the middle of a file: of weights and labels, one that keeps every number a sound one. */
function flip(file) {
  const bytes = readFileSync(file);
  bytes[(bytes.length >> 1) & ~3] ^= 1;
  writeFileSync(file, bytes);
}

test.before(async () => {
  corpus = await readCorpus(writeTinyCorpus(join(dir, 'corpus')));
  await run(undisturbed);
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

for (const [result, reader] of [
  ['mfcc/model/model.safetensors', 'tapt'],
  ['mfcc/model/preprocessor_config.json', 'pretrain'],
  ['tapt/model/model.safetensors', 'finetune'],
  ['finetune/model/config.json', 'cluster'],
  ['finetune/model/head.safetensors', 'evaluate'],
  ['cluster/labels.safetensors', 'pretrain'],
  ['cluster/centroids.safetensors', 'evaluate'],
  ['pretrain/model/model.safetensors', 'align'],
  ['align/model/emoframe.json', 'timeline'],
  ['timeline/model/head.safetensors', 'evaluate'],
]) {
  test(`${result}, read by ${reader}`, async () => {
    const out = runBefore(`${result.replaceAll('/', '-')}-${reader}`, reader);
    const file = join(out, 'folds', 's1', result);
    flip(file);
    const error = await refused(run(out), 'ERR_CHECKPOINT_DAMAGED', /its contents are not what was written/);
    assert.is(error.file, file);
    const [stage] = result.split('/');
    const folder = join(out, 'folds', 's1', stage);
    assert.ok(error.message.includes(`Restore a copy, or delete ${folder} and resume`), error.message);

    rmSync(folder, { recursive: true });
    await run(out);
    const results = (contents) => new Map([...contents].filter(([path]) => path.startsWith('folds/')));
    assert.equal(differences(results(runContents(undisturbed)), results(runContents(out))), []);
  });
}

test('what the predictor is put together from is looked at too, and no predictor is left of damaged parts', async () => {
  const out = runBefore('predictor', 'evaluate');
  rmSync(join(out, 'folds', 's1', 'predictor'), { recursive: true });
  const file = join(out, 'folds', 's1', 'timeline', 'model', 'head.safetensors');
  flip(file);
  assert.is((await refused(run(out), 'ERR_CHECKPOINT_DAMAGED', /head\.safetensors is damaged/)).file, file);
  assert.throws(() => readFileSync(join(out, 'folds', 's1', 'predictor', 'config.json')), /ENOENT/);
});

test('scores are not taken from rows or metrics that changed', async () => {
  for (const name of ['predictions.jsonl', 'baseline.jsonl', 'metrics.json']) {
    const out = join(dir, `scores-${name}`, 'run');
    cpSync(undisturbed, out, { recursive: true });
    const file = join(out, 'folds', 's1', 'evaluate', name);
    flip(file);
    assert.is((await refused(run(out), 'ERR_CHECKPOINT_DAMAGED', /is damaged/)).file, file);
  }
});

test('a file that was cut short, or is missing, and a mark that cannot be read, are named', async () => {
  const broken = (file, change) => {
    const out = runBefore(`broken-${file.replaceAll('/', '-')}`, 'align');
    change(join(out, 'folds', 's1', file));
    return { out, file: join(out, 'folds', 's1', file) };
  };
  const cut = broken('pretrain/model/model.safetensors', (file) => writeFileSync(file, readFileSync(file).subarray(1)));
  assert.is((await refused(run(cut.out), 'ERR_CHECKPOINT_DAMAGED', /bytes instead of/)).file, cut.file);
  const missing = broken('pretrain/model/head.safetensors', rmSync);
  assert.is((await refused(run(missing.out), 'ERR_CHECKPOINT_DAMAGED', /damaged: it is missing/)).file, missing.file);
  const mark = broken('pretrain/done.json', (file) => writeFileSync(file, '{"time":'));
  const error = await refused(run(mark.out), 'ERR_CHECKPOINT_DAMAGED', /done\.json is damaged: it is not valid JSON/);
  assert.is(error.file, mark.file);
  assert.ok(error.message.includes(`delete ${dirname(mark.file)} and resume`), error.message);
});

test('a run of an earlier version, whose marks have no checksums, goes on as it did', async () => {
  const out = runBefore('earlier', 'pretrain');
  for (const stage of stageNames.slice(0, 4)) {
    const file = join(out, 'folds', 's1', stage, 'done.json');
    const { files, ...mark } = JSON.parse(readFileSync(file, 'utf8'));
    assert.ok(Object.keys(files).includes('metrics.json'), stage);
    writeFileSync(file, JSON.stringify(mark));
  }
  const summary = await run(out);
  assert.equal({ ...summary, seconds: 0 }, { ...(await run(undisturbed)), seconds: 0 });
});

test.run();
