import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, parseConfig, readSafetensors, Trainer } from '../../dist/index.js';
import { stageNames } from '../../dist/run/stages.js';
import { refusal } from '../support/refused.js';
import { makeToyCorpus, toyConfig } from '../support/toyCorpus.js';

const test = suite('pipeline');
let dir;
let corpus;
let summary;
const config = parseConfig(toyConfig);
const out = (name) => join(dir, name);
const optionsFor = (name, more = {}) => ({ corpus, out: out(name), config, threads: 1, folds: ['s2'], ...more });
const foldFile = (name, ...path) => join(out(name), 'folds', 's2', ...path);
const json = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'));

/** One call of a trainer of its own. */
async function withTrainer({ folds, signal, onProgress, ...options }, work) {
  const trainer = await Trainer.open(options);
  try {
    return await work(trainer, { folds, signal, onProgress });
  } finally {
    await trainer.dispose();
  }
}
const runPipeline = (options) => withTrainer(options, (trainer, call) => trainer.run(call));
const runStage = (stage, options) => withTrainer(options, (trainer, call) => trainer[stage](call));

/** Digests of everything that a run must repeat to the bit. */
function digests(name) {
  const found = {};
  const visit = (path) => {
    for (const entry of readdirSync(foldFile(name, path), { withFileTypes: true })) {
      const file = join(path, entry.name);
      if (entry.isDirectory()) visit(file);
      else if (entry.name !== 'done.json')
        found[file] = createHash('sha256')
          .update(readFileSync(foldFile(name, file)))
          .digest('hex');
    }
  };
  visit('');
  return found;
}

test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-pipeline-'));
  corpus = makeToyCorpus(join(dir, 'audio'));
  summary = await runPipeline(optionsFor('whole'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('a run leaves what it promises', () => {
  for (const name of ['config.json', 'corpus.json', 'folds.json', 'log.jsonl', 'summary.json'])
    assert.ok(existsSync(join(out('whole'), name)), name);
  for (const stage of stageNames) {
    assert.ok(existsSync(foldFile('whole', stage, 'done.json')), stage);
    assert.ok(existsSync(foldFile('whole', stage, 'metrics.json')), stage);
    assert.not.ok(existsSync(foldFile('whole', stage, 'checkpoint')), `${stage} left its checkpoint`);
  }
  for (const stage of ['mfcc', 'tapt', 'finetune', 'pretrain', 'align', 'timeline'])
    assert.ok(existsSync(foldFile('whole', stage, 'model', 'model.safetensors')), stage);
  const { versions, seed } = json(out('whole'), 'config.json');
  assert.is(seed, 3);
  assert.equal(Object.keys(versions).sort(), ['cpuLibrary', 'emoframe', 'node']);
  const log = readFileSync(join(out('whole'), 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  for (const stage of ['mfcc', 'tapt', 'finetune', 'pretrain', 'align', 'timeline']) {
    const rows = log.filter((row) => row.stage === stage && row.fold === 's2');
    const { step, total } = rows.at(-1);
    assert.is(step, total);
    assert.ok(rows.some(({ loss }) => Number.isFinite(loss)));
    for (const row of rows.filter(({ loss }) => loss !== undefined))
      assert.ok(
        row.audioSecondsPerSecond > 0 && row.flopsPerSecond > row.audioSecondsPerSecond,
        `${stage} has a speed`,
      );
    assert.ok(
      rows.some(({ memory }) => memory?.moments > 0 && memory.total > memory.weights),
      `${stage} has a plan`,
    );
  }
  for (const stage of ['align', 'timeline']) assert.ok(log.some((row) => row.stage === stage && row.validationUa > 0));
});

test('labels have a cluster for every frame of the training session', async () => {
  const { tensors } = await readSafetensors(foldFile('whole', 'cluster', 'labels.safetensors'));
  const training = corpus.utterances.filter(({ session }) => session === 's1');
  assert.equal([...tensors.keys()].sort(), training.map(({ id }) => id).sort());
  for (const { data } of tensors.values()) {
    assert.ok(data.length >= 59);
    for (const label of data) assert.ok(Number.isInteger(label) && label >= 0 && label < 6);
  }
});

test('the task is learned, and known by frames', () => {
  assert.ok(summary.wa >= 0.9, `wa ${summary.wa}`);
  assert.ok(summary.baseline.wa >= 0.75, `baseline ${summary.baseline.wa}`);
  assert.ok(summary.frameAccuracy >= 0.8, `frames ${summary.frameAccuracy}`);
  assert.ok(Math.abs(summary.eder - (1 - summary.frameAccuracy)) < 1e-9);
  assert.ok(Math.abs(summary.baseline.attentionOnEmotion - summary.emotionFrameShare) < 1e-3, 'mean pooling');
  // The timeline is right, so that its posterior lies where the emotion is.
  assert.ok(summary.lift > 1.1, `lift ${summary.lift}`);
  assert.ok(Math.abs(summary.lift - summary.posteriorOnEmotion / summary.emotionFrameShare) < 1e-9);
  assert.equal(summary.labels, ['happy', 'neutral']);
  assert.equal(
    summary.folds.map(({ name }) => name),
    ['s2'],
  );
  assert.ok(summary.intervals.wa[0] <= summary.wa && summary.wa <= summary.intervals.wa[1]);
  assert.ok(summary.seconds > 0);
  assert.equal(json(out('whole'), 'summary.json'), JSON.parse(JSON.stringify(summary)));
});

test('rows say everything of each test utterance', () => {
  for (const which of ['predictions', 'baseline']) {
    const rows = readFileSync(foldFile('whole', 'evaluate', `${which}.jsonl`), 'utf8')
      .trim()
      .split('\n')
      .map(JSON.parse);
    assert.is(rows.length, 12);
    for (const row of rows) {
      const frames = row.attention.length;
      assert.is(frames, Math.floor((Math.round(row.seconds * 16000) - 400) / 320) + 1);
      for (const name of ['posteriors', 'clusters', 'path', 'truth']) assert.is(row[name].length, frames, name);
      const sum = (values) => values.reduce((a, b) => a + b, 0);
      assert.ok(Math.abs(sum(row.probabilities) - 1) < 1e-5);
      assert.ok(Math.abs(sum(row.attention) - 1) < 1e-4);
      for (const posterior of row.posteriors) assert.ok(Math.abs(sum(posterior) - 1) < 1e-3);
      assert.is(row.predicted, row.labels[row.probabilities.indexOf(Math.max(...row.probabilities))]);
      if (row.label === 'neutral') assert.equal(new Set(row.truth), new Set([1]));
      else assert.equal(new Set(row.truth), new Set([0, 1]));
    }
  }
});

/** That the fold's predictor says of test utterances what stage 5 said. */
async function predictsAsEvaluated(name) {
  const rows = readFileSync(foldFile(name, 'evaluate', 'predictions.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map(JSON.parse);
  const predictor = await EmotionModel.load(foldFile(name, 'predictor'), { threads: 1 });
  // One of each class that was predicted.
  const byLabel = new Map(rows.map((row) => [row.predicted, row]));
  assert.equal([...byLabel.keys()].sort(), ['happy', 'neutral']);
  try {
    for (const row of byLabel.values()) {
      const found = await predictor.predict(row.audio);
      assert.is(found.label, row.predicted);
      for (const [index, label] of row.labels.entries())
        assert.ok(Math.abs(found.probabilities[label] - row.probabilities[index]) < 1e-4);
      const column = (name) => found.frames.map((frame) => frame[name]);
      assert.equal(column('cluster'), row.clusters);
      assert.is(found.frames.length, row.path.length);
      for (const [frame, posterior] of row.posteriors.entries())
        for (const [c, value] of posterior.entries())
          assert.ok(Math.abs(found.frames[frame].posterior[c] - value) < 2e-4, `frame ${frame}`);
      for (const [frame, weight] of row.attention.entries())
        assert.ok(Math.abs(found.frames[frame].attention - weight) < 1e-4, `frame ${frame}`);
      const at = (time) => found.segments.find(({ start, end }) => start <= time && time < end).label;
      assert.equal(
        column('time').map(at),
        row.path.map((state) => row.labels[state]),
      );
    }
  } finally {
    await predictor.dispose();
  }
}

test('the predictor says of test utterances what the evaluation said', () => predictsAsEvaluated('whole'));

/** A copy of the whole run as if it had been begun with another `align`, in which stage 4 is to do; one that is there goes on. */
function begunWith(name, align, more) {
  const asked = parseConfig({ ...toyConfig, align: { ...toyConfig.align, ...align } });
  const run = () => runPipeline(optionsFor(name, { config: asked, resume: true, ...more }));
  if (existsSync(out(name))) return run();
  cpSync(out('whole'), out(name), { recursive: true });
  for (const stage of ['align', 'timeline', 'evaluate', 'predictor'])
    if (stage !== 'align' || align.objective !== undefined) rmSync(foldFile(name, stage), { recursive: true });
  const recorded = json(out(name), 'config.json');
  recorded.config.align = asked.align;
  writeFileSync(join(out(name), 'config.json'), JSON.stringify(recorded));
  return run();
}

test('the alignment network alone says which emotion and when, where that is the objective', async () => {
  const alone = await begunWith('alone', { objective: 'forward-backward' });
  assert.not.ok(existsSync(foldFile('alone', 'align')));
  const { pooling, alignment, calibration } = json(foldFile('alone', 'predictor', 'emoframe.json'));
  assert.is(pooling, undefined);
  assert.equal([alignment.neutral, Object.keys(calibration)], [1, ['alignment']]);
  assert.ok(alone.wa >= 0.75, `wa ${alone.wa}`);
  assert.ok(alone.frameAccuracy >= 0.8, `frames ${alone.frameAccuracy}`);
  await predictsAsEvaluated('alone');
});

test('attention alone is the published stage 4: one part, and a timeline of its own', async () => {
  const published = await begunWith('published', { objective: 'attention' });
  assert.not.ok(existsSync(foldFile('published', 'timeline')));
  const { pooling, alignment } = json(foldFile('published', 'predictor', 'emoframe.json'));
  assert.equal([pooling, alignment], ['attention', undefined]);
  assert.ok(published.wa >= 0.75, `wa ${published.wa}`);
  // The part that both runs have is the same one.
  const weights = join('align', 'model', 'model.safetensors');
  assert.equal(readFileSync(foldFile('published', weights)), readFileSync(foldFile('whole', weights)));
  const rows = readFileSync(foldFile('published', 'evaluate', 'predictions.jsonl'), 'utf8')
    .trim()
    .split('\n');
  assert.ok(rows.every((row) => JSON.parse(row).timeline === 'attention'));
  await predictsAsEvaluated('published');
});

test('frame truth that is used teaches the alignment network, and nothing else', async () => {
  const taught = await begunWith('taught', { truth: 'use' });
  const weights = (name, stage) => readFileSync(foldFile(name, stage, 'model', 'head.safetensors'));
  assert.equal(weights('taught', 'align'), weights('whole', 'align'));
  assert.not.equal(weights('taught', 'timeline'), weights('whole', 'timeline'));
  assert.ok(taught.frameAccuracy > summary.frameAccuracy, `${taught.frameAccuracy}, untaught ${summary.frameAccuracy}`);
});

test('the same seed gives the same bits, also when the run is stopped and resumed', async () => {
  let resumed = false;
  for (const [stage, at] of [
    ['mfcc', 9],
    ['finetune', 5],
    ['pretrain', 3],
    // One of the epochs whose weights are averaged is over.
    ['align', 9],
    // So is one of the alignment network's.
    ['timeline', 9],
  ]) {
    const controller = new AbortController();
    const error = await refusal(
      runPipeline(
        optionsFor('resumed', {
          resume: resumed,
          signal: controller.signal,
          onProgress: (event) => {
            if (event.stage === stage && event.message === undefined && event.done === at) controller.abort();
          },
        }),
      ),
    );
    assert.is(error.code, 'ERR_ABORTED', error.message);
    assert.ok(existsSync(foldFile('resumed', stage, 'checkpoint', `step-${at}`, 'state.json')), stage);
    resumed = true;
  }
  const repeated = await runPipeline(optionsFor('resumed', { resume: true }));
  assert.equal(digests('resumed'), digests('whole'));
  assert.equal({ ...repeated, seconds: 0 }, { ...summary, seconds: 0 });
});

test('an alignment network of the best epoch is kept over a stop after it, and judged as what it is', async () => {
  const objective = 'forward-backward';
  // So fast that it does not get better to the end.
  const fast = { schedule: 'constant', optimizer: { learningRate: 0.05 } };
  const network = { ...toyConfig.align.network, ...fast, selection: 'validation-ua' };
  const begun = await begunWith('chosen', { objective, network });
  const { epoch } = json(foldFile('chosen', 'timeline', 'metrics.json')).validation;
  const total = toyConfig.align.network.epochs;
  assert.ok(epoch < total, `the test needs a best epoch before the last: ${epoch}`);
  const controller = new AbortController();
  const stopped = begunWith(
    'chosen again',
    { objective, network },
    {
      signal: controller.signal,
      onProgress: ({ stage, message, done, total: updates }) => {
        if (stage === 'timeline' && message === undefined && done === updates - 1) controller.abort();
      },
    },
  );
  assert.is((await refusal(stopped)).code, 'ERR_ABORTED');
  const again = await begunWith('chosen again', { objective, network });
  assert.equal({ ...again, seconds: 0 }, { ...begun, seconds: 0 });
  assert.equal(digests('chosen again'), digests('chosen'));
});

test('a fold that was evaluated before lift was measured has none; its rows give that of all', async () => {
  cpSync(out('whole'), out('earlier'), { recursive: true });
  const edit = (file, change) => {
    const value = json(foldFile('earlier', 'evaluate', file));
    change(value);
    writeFileSync(foldFile('earlier', 'evaluate', file), JSON.stringify(value));
  };
  edit('metrics.json', (metrics) => {
    for (const scores of [metrics, metrics.baseline]) {
      delete scores.posteriorOnEmotion;
      delete scores.lift;
    }
  });
  edit('done.json', (mark) => {
    delete mark.files;
  });
  const read = await runPipeline(optionsFor('earlier', { resume: true }));
  assert.equal([read.folds[0].lift, read.folds[0].posteriorOnEmotion, read.folds[0].baseline.lift], [null, null, null]);
  assert.equal([read.lift, read.baseline.lift], [summary.lift, summary.baseline.lift]);
  assert.is(read.folds[0].wa, summary.folds[0].wa);
});

test('another seed gives other weights', async () => {
  const { signal, abort } = (() => {
    const controller = new AbortController();
    return { signal: controller.signal, abort: () => controller.abort() };
  })();
  const other = { ...config, seed: 4 };
  const onProgress = ({ stage }) => stage === 'tapt' && abort();
  await refusal(runPipeline(optionsFor('seed', { config: other, signal, onProgress })));
  const file = join('mfcc', 'model', 'model.safetensors');
  assert.not.equal(readFileSync(foldFile('seed', file)), readFileSync(foldFile('whole', file)));
});

test('a finished run is not begun again, and not continued as something else', async () => {
  assert.is((await refusal(runPipeline(optionsFor('whole')))).code, 'ERR_RUN_EXISTS');
  const changed = { ...config, seed: 9 };
  const error = await refusal(runPipeline(optionsFor('whole', { config: changed, resume: true })));
  assert.is(error.code, 'ERR_RUN_MISMATCH');
  assert.match(error.message, /config\.seed = 3, but now it is 9/);
  assert.is((await refusal(runPipeline(optionsFor('other', { folds: ['s9'] })))).code, 'ERR_FOLDS');
});

test('inductive: the test session is not even read before evaluation; single stages follow each other', async () => {
  const hidden = corpus.utterances.filter(({ session }) => session === 's2');
  for (const { audio } of hidden) renameSync(audio, `${audio}.hidden`);
  const options = optionsFor('stages');
  try {
    for (const stage of stageNames.slice(0, -1)) {
      if (stage !== 'mfcc') {
        const after = stageNames[stageNames.indexOf(stage) + 1];
        const error = await refusal(runStage(after, options));
        assert.is(error.code, 'ERR_STAGE');
      }
      await runStage(stage, options);
    }
    const begun = await refusal(runStage('tapt', options));
    assert.is(begun.code, 'ERR_RUN_EXISTS');
    assert.match(begun.message, /--resume/);
    const error = await refusal(runStage('evaluate', options));
    assert.match(error.message, /s2-/);
  } finally {
    for (const { audio } of hidden) renameSync(`${audio}.hidden`, audio);
  }
  await runStage('evaluate', options);
  assert.equal(digests('stages'), digests('whole'));
});

test('transductive: the test session has pseudo-labels and teaches', async () => {
  const transductive = parseConfig({
    ...toyConfig,
    protocol: 'transductive',
    finetune: { ...toyConfig.finetune, epochs: 1 },
  });
  for (const stage of stageNames.slice(0, 5))
    await runStage(stage, optionsFor('transductive', { config: transductive }));
  const { tensors } = await readSafetensors(foldFile('transductive', 'tapt', 'labels.safetensors'));
  assert.is(tensors.size, 24);
  const assigned = await readSafetensors(foldFile('transductive', 'pretrain', 'labels.safetensors'));
  assert.is(assigned.tensors.size, 12);
  assert.is(json(foldFile('transductive', 'pretrain', 'metrics.json')).utterances, 24);
});

test('a sweep shows every layer and K, and changes nothing', async () => {
  const before = digests('whole');
  const [{ fold, rows }] = await withTrainer(optionsFor('whole'), (trainer, call) =>
    trainer.sweep({ layers: [1, 2], clusters: [2, 12] }, call),
  );
  assert.is(fold, 's2');
  assert.equal(
    rows.map(({ layer, clusters }) => [layer, clusters]),
    [
      [1, 2],
      [1, 12],
      [2, 2],
      [2, 12],
    ],
  );
  for (const { purity, nmi } of rows) assert.ok(purity > 0.5 && purity <= 1 && nmi >= 0 && nmi <= 1);
  assert.ok(rows[1].inertiaPerFrame < rows[0].inertiaPerFrame);
  assert.equal(json(foldFile('whole', 'cluster', 'sweep.json')), rows);
  rmSync(foldFile('whole', 'cluster', 'sweep.json'));
  assert.equal(digests('whole'), before);
});

test.run();
