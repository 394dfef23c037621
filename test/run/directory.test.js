import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseConfig } from '../../dist/index.js';
import { firstDifference, openRunDirectory } from '../../dist/run/directory.js';
import { chooseLabels } from '../../dist/run/labels.js';
import { refusal } from '../support/refused.js';

let dir;
test.before.each(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-run-'));
});
test.after.each(() => rmSync(dir, { recursive: true, force: true }));

const utterance = (id, label, more = {}) => ({ id, audio: `/speech/${id}.wav`, label, ...more });
const corpus = {
  name: 'two',
  utterances: [utterance('b', 'sad'), utterance('a', 'happy'), utterance('c', 'angry')],
  problems: [],
};
const request = (change = {}) => ({
  config: parseConfig(),
  model: '/models/base',
  corpus,
  folds: [],
  skipped: [],
  ...change,
});
const environment = { versions: { emoframe: '0.1.0' } };

/** Begins a run, or opens one, and lets it go again. */
async function openAndRelease(out, asked, environment) {
  const run = await openRunDirectory(out, async () => asked, environment);
  run.release();
  return run;
}

test('a new run records what it was asked to do', async () => {
  const run = await openAndRelease(join(dir, 'new', 'run'), request(), environment);
  const config = JSON.parse(readFileSync(run.config, 'utf8'));
  assert.is(config.seed, 1);
  assert.is(config.model, '/models/base');
  assert.is(config.versions.emoframe, '0.1.0');
  assert.equal(config.config, parseConfig());
  assert.is(JSON.parse(readFileSync(run.corpus, 'utf8')).utterances.length, 3);
});

test('a folder that holds something else is refused', async () => {
  writeFileSync(join(dir, 'thesis.tex'), '');
  const foreign = await refusal(openAndRelease(dir, request(), environment));
  assert.is(foreign.code, 'ERR_RUN_EXISTS');
  assert.match(foreign.message, /thesis\.tex/);
});

test('a folder that holds the first files of a run, and the lock of one that was killed, can be begun again', async () => {
  const out = join(dir, 'run');
  mkdirSync(out);
  writeFileSync(join(out, 'corpus.json'), '{');
  writeFileSync(join(out, 'run.lock'), '{"pid":1,"host":"a","since":"2026-01-01"}\n');
  writeFileSync(join(out, '.folds.json.new-0123456789abcdef'), '[');
  await openAndRelease(out, request(), environment);
  assert.equal(readdirSync(out).sort(), ['config.json', 'corpus.json', 'folds.json', 'skipped.json']);
});

test('whatever has a name of ours in a folder that is no run is refused by name, and stays as it was', async () => {
  const names = ['corpus.json', 'folds.json', 'skipped.json', 'log.jsonl', 'summary.json', 'report.html', 'run.lock'];
  for (const name of [...names, 'folds/notes', 'tensorboard/notes', 'corpus']) {
    const out = join(dir, name.replace('/', '-'));
    mkdirSync(dirname(join(out, name)), { recursive: true });
    writeFileSync(join(out, name), 'three weeks of work');
    const { code, message } = await refusal(openAndRelease(out, request(), environment));
    assert.is(code, 'ERR_RUN_EXISTS', name);
    assert.ok(message.includes(`contains ${name.split('/')[0]})`), message);
    assert.is(readFileSync(join(out, name), 'utf8'), 'three weeks of work');
    assert.equal(readdirSync(out), [name.split('/')[0]]);
  }
  // A config.json of another program is not a run either.
  const other = join(dir, 'other');
  mkdirSync(other);
  writeFileSync(join(other, 'config.json'), '{"mine":true}');
  assert.is((await refusal(openAndRelease(other, request(), environment))).code, 'ERR_RUN_MISMATCH');
  assert.equal(readdirSync(other), ['config.json']);
});

test('a run that cannot be begun leaves nothing that would be in its own way', async () => {
  const out = join(dir, 'run');
  const failing = request({ skipped: { toJSON: () => assert.unreachable() } });
  await openAndRelease(out, failing, environment).catch(() => undefined);
  assert.equal(readdirSync(out), []);
  await openAndRelease(out, request(), environment);
});

test('links of the names of a run lead to nothing that is written', async () => {
  const precious = join(dir, 'precious');
  const out = join(dir, 'run');
  for (const name of ['run.lock', 'corpus.json', 'folds.json', 'skipped.json', 'log.jsonl', 'folds']) {
    writeFileSync(precious, 'ssh-ed25519');
    mkdirSync(out);
    symlinkSync(precious, join(out, name));
    const { code, message } = await refusal(openAndRelease(out, request(), environment));
    assert.is(code, 'ERR_RUN_EXISTS');
    assert.ok(message.includes(name), message);
    assert.is(readFileSync(precious, 'utf8'), 'ssh-ed25519');
    rmSync(out, { recursive: true });
  }
  // In a run too, by symbolic and by hard links.
  for (const link of [symlinkSync, linkSync]) {
    await openAndRelease(out, request(), environment);
    link(precious, join(out, 'run.lock'));
    const { code, message } = await refusal(openAndRelease(out, request(), environment));
    assert.is(code, 'ERR_WRITE');
    assert.match(message, /run\.lock: it is a (?:link|file that no run made)/);
    assert.is(readFileSync(precious, 'utf8'), 'ssh-ed25519');
    rmSync(out, { recursive: true });
  }
});

test("a stage's folders and files that lead elsewhere are refused before it writes", async () => {
  const run = await openAndRelease(join(dir, 'run'), request(), environment);
  const stage = run.fold('s1').stage('align');
  const board = run.tensorboard('s1', 'align');
  const places = [dirname(dirname(stage.dir)), dirname(stage.dir), stage.dir, stage.checkpoint, stage.model, board];
  await run.refuseLinks('s1', 'align');
  for (const place of places) {
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(tmpdir(), place);
    const { code, file } = await refusal(run.refuseLinks('s1', 'align'));
    assert.is(code, 'ERR_WRITE');
    assert.is(file, place);
    rmSync(place);
  }
});

test('another config, model or corpus is a mismatch that names the first difference', async () => {
  await openAndRelease(dir, request(), environment);
  const { utterances } = corpus;
  const changes = [
    [
      { config: parseConfig({ cluster: { kmeans: { clusters: 51 } } }) },
      'config.cluster.kmeans.clusters = 50, but now it is 51',
    ],
    [{ model: '/models/large' }, 'model = "/models/base", but now it is "/models/large"'],
    [
      { corpus: { ...corpus, utterances: [...utterances.slice(0, 2), utterance('c', 'sad')] } },
      'corpus.c.label = "angry"',
    ],
    [{ corpus: { ...corpus, utterances: utterances.slice(0, 2) } }, 'but now it is nothing'],
    [{ folds: [{ name: 's', train: [], validation: [], test: [] }] }, 'folds.0 = nothing'],
  ];
  for (const [change, sentence] of changes) {
    const error = await refusal(openAndRelease(dir, request(change), environment));
    assert.is(error.code, 'ERR_RUN_MISMATCH');
    assert.ok(error.message.includes(sentence), error.message);
  }
  await openAndRelease(dir, request({ corpus: { ...corpus, utterances: [...utterances].reverse() } }), {});
});

test('a run of before there was a choice of objective has the published one, and goes on with that alone', async () => {
  const published = parseConfig({ align: { objective: 'attention' } });
  const run = await openAndRelease(dir, request({ config: published }), environment);
  const recorded = JSON.parse(readFileSync(run.config, 'utf8'));
  const { objective, network, truth, concatenate, ...align } = recorded.config.align;
  assert.is(objective, 'attention');
  assert.ok(network !== undefined && truth !== undefined && concatenate !== undefined);
  writeFileSync(run.config, JSON.stringify({ ...recorded, config: { ...recorded.config, align } }));
  await openAndRelease(dir, request({ config: published }), environment);
  const error = await refusal(openAndRelease(dir, request(), environment));
  assert.is(error.code, 'ERR_RUN_MISMATCH');
  assert.ok(error.message.includes('config.align.objective = "attention", but now it is "both"'), error.message);
});

test('a run of before, whose corpus recorded ratings that nothing was learned from, goes on', async () => {
  const rated = (field) => ({ ...corpus, utterances: corpus.utterances.map((one) => ({ ...one, ...field })) });
  await openAndRelease(dir, request({ corpus: rated({ dimensions: { valence: 3 } }) }), environment);
  const { corpus: chosen } = chooseLabels(
    rated({ values: { valence: 0.5 } }),
    parseConfig({ align: { objective: 'attention' } }),
  );
  await openAndRelease(dir, request({ corpus: chosen }), environment);
});

test('first difference', () => {
  assert.is(firstDifference({ a: [1, 2], b: undefined }, { a: [1, 2] }), undefined);
  assert.equal(firstDifference({ a: [1, 2] }, { a: [1] }), { path: 'a.1', before: 2, after: undefined });
  assert.equal(firstDifference({ a: null }, { a: {} }), { path: 'a', before: null, after: {} });
});

test('labels are sorted, or as the config orders them', () => {
  const align = { objective: 'attention' };
  assert.equal(chooseLabels(corpus, parseConfig({ align })).labels, ['angry', 'happy', 'sad']);
  const chosen = chooseLabels(corpus, parseConfig({ align, labels: ['sad', 'happy'] }));
  assert.equal(chosen.labels, ['sad', 'happy']);
  assert.equal(
    chosen.corpus.utterances.map(({ id, label }) => [id, label]),
    [
      ['a', 'happy'],
      ['b', 'sad'],
      ['c', undefined],
    ],
  );
});

test('neutral is found by its usual names', () => {
  const neutralOf = (label, config = {}) =>
    chooseLabels({ ...corpus, utterances: [...corpus.utterances, utterance('d', label)] }, parseConfig(config)).neutral;
  assert.is(neutralOf('neutral'), 'neutral');
  assert.is(neutralOf('neu'), 'neu');
  assert.is(neutralOf('calm', { neutralLabel: 'calm' }), 'calm');
});

test('what separates emotions from neutral needs a neutral class, and is refused before any training', async () => {
  for (const objective of ['both', 'forward-backward']) {
    const config = { align: { objective } };
    assert.throws(
      () => chooseLabels(corpus, parseConfig(config)),
      ({ code, message }) =>
        code === 'ERR_CONFIG' &&
        message.includes(`align.objective '${objective}'`) &&
        /no label 'neutral' among angry, happy, sad: set neutralLabel .* or align\.objective to 'attention'/.test(
          message,
        ),
    );
    assert.is(chooseLabels(corpus, parseConfig({ ...config, neutralLabel: 'sad' })).neutral, 'sad');
  }
  chooseLabels(corpus, parseConfig({ align: { objective: 'attention' } }));
});

test('labels that cannot be learned or scored are refused before any training', async () => {
  const refused = (utterances, sentence, config = {}) =>
    assert.throws(
      () => chooseLabels({ ...corpus, utterances }, parseConfig(config)),
      (error) => error.code === 'ERR_CORPUS' && error.message.includes(sentence),
    );
  refused([utterance('a', 'sad')], 'at least 2 labels');
  refused([{ id: 'a', audio: 'a.wav' }], 'no labels');
  refused(corpus.utterances, 'the config asks for ang, hap', { labels: ['ang', 'hap'] });
  const segments = (label) => [{ start: 0, end: 1, label }];
  refused([utterance('a', 'sad'), utterance('b', 'happy', { segments: segments('happy') })], 'set neutralLabel');
  refused([utterance('a', 'neutral'), utterance('b', 'happy', { segments: segments('joy') })], "segment 'joy'");
});

test('with dimensions, only what has all of their values is learned, and labels are not', () => {
  const rated = {
    ...corpus,
    utterances: [
      utterance('b', 'sad', { values: { valence: 0.25, arousal: 0.5, dominance: 1 }, segments: [] }),
      utterance('a', 'happy', { values: { arousal: 0.5 } }),
      { id: 'c', audio: '/speech/c.wav', values: { arousal: 0, valence: 1 } },
    ],
  };
  const dimensions = ['valence', 'arousal'];
  const chosen = chooseLabels(rated, parseConfig({ dimensions }));
  assert.equal(chosen.labels, dimensions);
  assert.equal(chosen.corpus.utterances, [
    { id: 'a', audio: '/speech/a.wav' },
    { id: 'b', audio: '/speech/b.wav', values: { valence: 0.25, arousal: 0.5 } },
    { id: 'c', audio: '/speech/c.wav', values: { valence: 1, arousal: 0 } },
  ]);
  assert.throws(
    () => chooseLabels(corpus, parseConfig({ dimensions })),
    (error) => error.code === 'ERR_CORPUS' && error.message.includes('two has no values'),
  );
});

test.run();
