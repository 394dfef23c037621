import * as assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import { makeFolds, parseConfig, readCorpus, readFolds, Trainer } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { plant, plantIemocap, scratch } from '../support/datasetTree.js';
import { refused } from '../support/refused.js';
import { tinyConfig } from '../support/tinyCorpus.js';
import { longestTurn } from '../support/turns.js';

const test = suite('splits');
const root = scratch(test, 'splits');

/** `speakers` of so many utterances each, half of them of each label. */
function corpus(speakers, more = {}) {
  const utterances = Object.entries(speakers).flatMap(([speaker, count]) =>
    Array.from({ length: count }, (_, i) => ({
      id: `${speaker}-${i}`,
      audio: '/x.wav',
      label: i % 2 === 0 ? 'sad' : 'neu',
      speaker,
    })),
  );
  return { name: 'test', utterances, problems: [], ...more };
}
const options = { scheme: 'speakers', count: 3, validation: { by: 'random', fraction: 0.25 }, seed: 1 };
const speakersOf = (ids) => [...new Set(ids.map((id) => id.split('-')[0]))].sort();

test('groups of speakers: each speaker is tested once, and never in training', () => {
  const speakers = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`s${i}`, 10]));
  const folds = makeFolds(corpus(speakers), options);
  assert.deepEqual(
    folds.map(({ name }) => name),
    ['fold-1', 'fold-2', 'fold-3'],
  );
  assert.deepEqual(folds.flatMap(({ test: held }) => speakersOf(held)).sort(), Object.keys(speakers).sort());
  for (const { train, validation, test: held } of folds) {
    assert.equal(speakersOf(held).length, 4);
    const trained = new Set(speakersOf([...train, ...validation]));
    assert.ok(speakersOf(held).every((speaker) => !trained.has(speaker)));
    assert.equal(train.length + validation.length + held.length, 120);
  }
  const again = { ...corpus(speakers), utterances: corpus(speakers).utterances.reverse() };
  const held = (folded) => folded.map(({ test: ids }) => speakersOf(ids));
  assert.deepEqual(held(makeFolds(again, options)), held(folds));
  assert.notDeepEqual(held(makeFolds(again, { ...options, seed: 2 })), held(folds));
});

test('groups of speakers are as equal as whole speakers allow', () => {
  const speakers = { a: 60, b: 40, c: 30, d: 30, e: 12, f: 8 };
  const sizes = makeFolds(corpus(speakers), options).map(({ test: held }) => held.length);
  assert.deepEqual(
    sizes.sort((a, b) => a - b),
    [60, 60, 60],
  );
  for (const [count, message] of [
    [7, /7 groups of speakers need as many speakers; the corpus has 6/],
    [1, /Expected 2 or more groups of speakers but received 1/],
  ]) {
    assert.throws(() => makeFolds(corpus(speakers), { ...options, count }), { code: 'ERR_FOLDS', message });
  }
});

test('customary folds are the dataset’s; of anything else, a session at a time', () => {
  const speakers = { a: 8, b: 8, c: 8, d: 8 };
  const customary = (value, more) =>
    makeFolds(corpus(speakers, { customary: value, ...more }), { ...options, scheme: 'customary' });
  assert.equal(customary({ scheme: 'speaker' }).length, 4);
  assert.equal(customary({ scheme: 'speakers', count: 2 }).length, 2);
  assert.throws(() => customary(undefined), { code: 'ERR_FOLDS', message: /Folds by session need a "session"/ });
  const folds = [{ name: 'one', train: ['a-0', 'a-1', 'b-0', 'b-1', 'b-2', 'b-3'], test: ['c-0', 'c-1', 'gone'] }];
  assert.deepEqual(customary({ scheme: 'given' }, { folds })[0].test, ['c-0', 'c-1']);
});

test('a given split with a speaker on both sides must be asked for', () => {
  const given = corpus({ a: 8, b: 8 });
  const splits = ['train', 'train', 'train', 'train', 'test', 'test', 'validation', 'validation'];
  given.utterances = given.utterances.map((utterance) => ({ ...utterance, split: splits[utterance.id.split('-')[1]] }));
  const scheme = { ...options, scheme: 'given' };
  assert.throws(() => makeFolds(given, scheme), {
    code: 'ERR_FOLDS',
    message: /Speaker a is in both training \(a-0\) and test of fold given.*allowSharedSpeakers/,
  });
  assert.equal(makeFolds(given, { ...scheme, allowSharedSpeakers: true })[0].test.length, 4);
});

const dialogues = Object.fromEntries(
  [1, 2, 3].map((session) => [
    `Ses0${session}F_impro01`,
    Array.from({ length: 8 }, (_, i) => [
      `Ses0${session}F_impro01_${i < 4 ? 'F' : 'M'}00${i}`,
      ['neu', 'ang', 'exc', 'fru'][i % 4],
    ]),
  ]),
);
const config = join(root, 'config.json');
const configOf = (more) => ({ ...tinyConfig, folds: { validation: { by: 'random', fraction: 0.3 } }, ...more });
test.before(() => writeFileSync(config, JSON.stringify(configOf())));

test('a run on a dataset’s folder records the scheme and the split, and takes the split back', async () => {
  const home = plantIemocap(join(root, 'iemocap'), dialogues);
  const out = join(root, 'run');
  const words = (dir, ...more) => ['cluster', home, '--config', config, '--out', dir, ...more];
  // The stage before it is not done: the run directory is begun all the same.
  const first = await emoframe(words(out, '--labels', 'ang+fru=x'));
  assert.match(first.stderr, /ERR_ARGUMENT/);
  const second = await emoframe(words(out, '--labels', 'bad=ang+fru,hap=hap+exc,neu'));
  assert.match(second.stderr, /ERR_STAGE/);
  const recorded = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')).config;
  assert.deepEqual(recorded.corpus, { dataset: null, labels: 'bad=ang+fru,hap=hap+exc,neu', others: 'leave-out' });
  assert.equal(recorded.folds.scheme, 'session');
  const folds = await readFolds(join(out, 'folds.json'));
  assert.deepEqual(
    folds.map(({ name, test: held }) => [name, held.length]),
    [1, 2, 3].map((session) => [`Session${session}`, 8]),
  );
  const labels = { Ses01F_impro01_F000: 'neu', Ses01F_impro01_F001: 'bad', Ses01F_impro01_F002: 'hap' };
  const { utterances } = JSON.parse(readFileSync(join(out, 'corpus.json'), 'utf8'));
  for (const { id, label } of utterances) assert.equal(label, labels[id] ?? label);

  // The same split, back to front, for another run; another label scheme is another run.
  const split = join(root, 'split.json');
  writeFileSync(split, JSON.stringify([{ ...folds[2], name: 'mine' }]));
  const other = join(root, 'other');
  const third = await emoframe(words(other, '--split', split, '--labels', 'bad=ang+fru,hap=hap+exc,neu'));
  assert.match(third.stderr, /fold mine needs stage finetune.*ERR_STAGE/);
  assert.deepEqual(await readFolds(join(other, 'folds.json')), [{ ...folds[2], name: 'mine' }]);
  assert.equal(JSON.parse(readFileSync(join(other, 'config.json'), 'utf8')).config.folds.scheme, 'given');
  const changed = await emoframe(words(out, '--labels', 'iemocap-4', '--resume'));
  assert.match(
    changed.stderr,
    /config\.corpus\.labels = "bad=ang\+fru,hap=hap\+exc,neu", but now it is "iemocap-4".*ERR_RUN_MISMATCH/,
  );
});

test('a run on a split that shares speakers, as the dataset gives it, says so and records it', async () => {
  const parts = ['train', 'train', 'train', 'train', 'test', 'test'];
  const name = (number) => `0012_${String(number).padStart(6, '0')}.wav`;
  const files = parts.flatMap((part, i) => [
    `0012/Angry/${part}/${name(351 + i)}`,
    `0012/Neutral/${part}/${name(1 + i)}`,
  ]);
  const home = plant(join(root, 'esd'), files);
  const out = join(root, 'esd-run');
  const { stderr } = await emoframe(['cluster', home, '--config', config, '--out', out]);
  assert.match(stderr, /In the split of esd, some speakers are in both training and test\./);
  const { folds } = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')).config;
  assert.deepEqual([folds.scheme, folds.allowSharedSpeakers], ['given', true]);
});

test('a run that an earlier version began goes on, without the fields that it did not know', async () => {
  const home = plantIemocap(join(root, 'earlier'), dialogues);
  const run = {
    corpus: await readCorpus(home),
    config: parseConfig(configOf()),
    out: join(root, 'earlier-run'),
  };
  await (await Trainer.open(run)).dispose();
  const file = join(run.out, 'config.json');
  const begun = JSON.parse(readFileSync(file, 'utf8'));
  const { corpus: _, ...rest } = begun.config;
  const { count: __, ...folds } = begun.config.folds;
  writeFileSync(file, JSON.stringify({ ...begun, config: { ...rest, folds } }));
  await (await Trainer.open(run)).dispose();
  writeFileSync(file, JSON.stringify({ ...begun, config: { ...rest, folds: { ...folds, scheme: 'speaker' } } }));
  await refused(Trainer.open(run), 'ERR_RUN_MISMATCH', /config\.folds\.scheme = "speaker", but now it is "session"/);
});

test('a config that says how the corpus was read must be true', async () => {
  const home = plantIemocap(join(root, 'true'), dialogues);
  const corpus = await readCorpus(home);
  for (const [wanted, message] of [
    [{ labels: 'iemocap-5' }, /corpus\.labels is "iemocap-5", but the corpus was read with "iemocap-4"/],
    [{ others: 'pretrain' }, /corpus\.others is "pretrain", but .* "leave-out"/],
    [{ dataset: 'meld' }, /corpus\.dataset is "meld", but .* "iemocap"/],
  ]) {
    const run = { corpus, config: parseConfig(configOf({ corpus: wanted })), out: join(root, 'untrue') };
    await refused(Trainer.open(run), 'ERR_CONFIG', message);
  }
});

test('a split that does not fit the corpus is refused with the fold, and the utterance or speaker', async () => {
  const data = corpus({ a: 6, b: 6, c: 6 });
  data.utterances.push({ id: 'silent', audio: '/x.wav', speaker: 'd' });
  const ids = (speaker) => data.utterances.filter(({ id }) => id.startsWith(speaker)).map(({ id }) => id);
  const good = { name: 'one', train: ids('a'), validation: ids('b'), test: ids('c') };
  const open = (folds, more = {}) =>
    Trainer.open({ corpus: data, folds, config: parseConfig(configOf(more)), out: join(root, 'refused') });
  for (const [folds, message] of [
    [[good, good], /two folds one/],
    [[{ ...good, test: ['z'] }], /Fold one has z to test on, which the corpus does not have/],
    [[{ ...good, test: ['silent'] }], /silent to test on, which has no label/],
    [[{ ...good, validation: ['a-0'] }], /Fold one has a-0 twice/],
    [[{ ...good, test: [] }], /Fold one has no labelled utterance to test on/],
    [[{ ...good, train: ['silent'] }], /no labelled utterance to train on/],
    [[{ ...good, train: [...ids('a'), 'c-0'], test: ids('c').slice(1) }], /Speaker c is in both training \(c-0\)/],
  ]) {
    await refused(open(folds), 'ERR_FOLDS', message);
  }
  const shared = [{ ...good, train: [...ids('a'), 'c-0'], test: ids('c').slice(1) }];
  const trainer = await open(shared, { folds: { allowSharedSpeakers: true } });
  assert.deepEqual(trainer.folds, shared);
  await trainer.dispose();
});

test('a file that is no split is refused with its name', async () => {
  for (const [text, message] of [
    ['[', /not valid JSON/],
    ['[]', /is not a split/],
    ['{"name":"a"}', /Expected a list of \{name, train, validation, test\}/],
    ['[{"name":"a","train":[],"validation":[],"test":[1]}]', /0\.test\.0/],
    ['[{"name":"../a","train":[],"validation":[],"test":[]}]', /0\.name: Expected a name of letters/],
  ]) {
    const file = join(plant(root, { 'bad.json': text }), 'bad.json');
    assert.equal((await refused(readFolds(file), 'ERR_FOLDS', message)).file, file);
  }
  await refused(readFolds(join(root, 'none.json')), 'ERR_FILE_NOT_FOUND', /none\.json/);
});

test('a split of many ids leaves the event loop free, whatever is wrong with it', async () => {
  const ids = Array.from({ length: 150_000 }, (_, i) => `utterance-${i}`);
  const file = join(root, 'many.json');
  const write = (train) => writeFileSync(file, JSON.stringify([{ name: 'a', train, validation: ['v'], test: ['t'] }]));
  write(ids);
  const [{ train }] = await readFolds(file);
  assert.deepEqual([train.length, train.at(-1)], [ids.length, 'utterance-149999']);
  write([...ids, '', 7]);
  await refused(readFolds(file), 'ERR_FOLDS', /0\.train\.150000: .*; 0\.train\.150001: .*expected string/);
  write(ids.map((_, i) => i));
  const turn = await longestTurn(() => refused(readFolds(file), 'ERR_FOLDS', /0\.train\.0: .*; and many more/));
  assert.ok(turn < 60, `${turn} ms`);
});

test.run();
