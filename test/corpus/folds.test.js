import * as assert from 'node:assert/strict';
import { suite } from 'uvu';
import { makeFolds } from '../../dist/index.js';

const test = suite('corpus: folds');
const LABELS = ['ang', 'hap', 'neu', 'neu', 'sad'];

/** 3 sessions of 2 speakers with 20 utterances each, and one unlabelled utterance a speaker. */
function corpus(change = (utterance) => utterance) {
  const utterances = [];
  for (const session of ['S1', 'S2', 'S3']) {
    for (const sex of ['F', 'M']) {
      const speaker = session + sex;
      for (let i = 0; i < 20; i++) {
        utterances.push({ id: `${speaker}-${i}`, audio: '/x.wav', label: LABELS[i % 5], speaker, session });
      }
      utterances.push({ id: `${speaker}-silent`, audio: '/x.wav', speaker, session });
    }
  }
  return { name: 'test', utterances: utterances.map(change), problems: [] };
}

const bySpeaker = { scheme: 'session', validation: { by: 'speaker', fraction: 0.2 }, seed: 1 };
const atRandom = { scheme: 'session', validation: { by: 'random', fraction: 0.2 }, seed: 1 };
const speakersOf = (ids) => [...new Set(ids.map((id) => id.split('-')[0]))].sort();

test('each session is tested once, and nothing is on two sides', () => {
  for (const options of [bySpeaker, atRandom]) {
    const folds = makeFolds(corpus(), options);
    assert.deepEqual(
      folds.map(({ name }) => name),
      ['S1', 'S2', 'S3'],
    );
    for (const { name, train, validation, test: held } of folds) {
      assert.deepEqual(speakersOf(held), [`${name}F`, `${name}M`]);
      assert.equal(held.length, 40);
      const all = [...train, ...validation, ...held];
      assert.equal(new Set(all).size, all.length);
      assert.ok(!speakersOf([...train, ...validation]).some((speaker) => speaker.startsWith(name)));
    }
  }
});

test('validation by speaker holds whole speakers out, their unlabelled speech too', () => {
  for (const { train, validation } of makeFolds(corpus(), bySpeaker)) {
    assert.equal(validation.length, 20);
    const [speaker, ...others] = speakersOf(validation);
    assert.deepEqual(others, []);
    assert.ok(!speakersOf(train).includes(speaker));
    assert.equal(train.filter((id) => id.endsWith('silent')).length, 3);
  }
});

test("validation at random keeps each label's share; unlabelled speech stays in training", () => {
  const { utterances } = corpus();
  const labelOf = new Map(utterances.map(({ id, label }) => [id, label]));
  for (const { train, validation } of makeFolds(corpus(), atRandom)) {
    const counts = {};
    for (const id of validation) counts[labelOf.get(id)] = (counts[labelOf.get(id)] ?? 0) + 1;
    // Of 80: 16 of three labels and 32 of the fourth; a fifth of each, rounded.
    assert.deepEqual(counts, { ang: 3, hap: 3, neu: 6, sad: 3 });
    assert.equal(train.filter((id) => id.endsWith('silent')).length, 4);
  }
});

test("a seed gives one cut, whatever the rows' order; another seed gives another", () => {
  const forward = corpus();
  const backward = { ...forward, utterances: [...forward.utterances].reverse() };
  const sorted = (folds) =>
    folds.map(({ name, train, validation, test: held }) => [name, train.sort(), validation.sort(), held.sort()]);
  for (const options of [bySpeaker, atRandom]) {
    assert.deepEqual(sorted(makeFolds(forward, options)), sorted(makeFolds(backward, options)));
    const cuts = new Set([1, 2, 3, 4, 5].map((seed) => JSON.stringify(makeFolds(forward, { ...options, seed }))));
    assert.ok(cuts.size > 1);
  }
});

test('a speaker in two sessions is an error that names them, unless allowed', () => {
  const shared = corpus((u) => (u.speaker === 'S2F' ? { ...u, speaker: 'S1F' } : u));
  assert.throws(() => makeFolds(shared, atRandom), {
    code: 'ERR_FOLDS',
    message: /Speaker S1F appears in sessions S1 and S2/,
  });
  const folds = makeFolds(shared, { ...atRandom, allowSharedSpeakers: true });
  assert.equal(folds[0].train.length + folds[0].validation.length, 84);
});

test('unlabelled speech of a tested speaker outside the session is not trained on', () => {
  const stray = corpus();
  stray.utterances.push({ id: 'stray', audio: '/x.wav', speaker: 'S1F' }, { id: 'nobody', audio: '/x.wav' });
  const [first, second] = makeFolds(stray, atRandom);
  assert.ok(!first.train.includes('stray'));
  assert.ok(second.train.includes('stray'));
  assert.ok(first.train.includes('nobody'));
});

test('by speaker: each speaker is tested once', () => {
  const folds = makeFolds(corpus(), { ...bySpeaker, scheme: 'speaker' });
  assert.equal(folds.length, 6);
  for (const { name, train, validation, test: held } of folds) {
    assert.deepEqual(speakersOf(held), [name]);
    assert.ok(!speakersOf([...train, ...validation]).includes(name));
  }
});

test('given splits are taken as they are; validation is cut where none is given', () => {
  const splits = { S1: 'train', S2: 'validation', S3: 'test' };
  const [fold, ...others] = makeFolds(
    corpus((u) => ({ ...u, split: splits[u.session] })),
    { ...bySpeaker, scheme: 'given' },
  );
  assert.deepEqual(others, []);
  assert.equal(fold.name, 'given');
  assert.deepEqual(speakersOf(fold.train), ['S1F', 'S1M']);
  assert.equal(fold.train.length, 42);
  assert.deepEqual(speakersOf(fold.validation), ['S2F', 'S2M']);
  assert.deepEqual(speakersOf(fold.test), ['S3F', 'S3M']);
  const cut = makeFolds(
    corpus((u) => ({ ...u, split: u.session === 'S3' ? 'test' : 'train' })),
    { ...bySpeaker, scheme: 'given' },
  )[0];
  assert.equal(cut.validation.length, 20);
  assert.equal(cut.test.length, 40);
});

test('what cannot be cut is an error that says why', () => {
  const cases = [
    [corpus((u) => ({ ...u, session: 'S1' })), bySpeaker, /at least 2 sessions; the corpus has 1/],
    [corpus(({ session: _, ...u }) => u), bySpeaker, /"session" for every labelled row: S1F-0 has none/],
    [corpus(({ speaker: _, ...u }) => u), bySpeaker, /"speaker" for every labelled row/],
    [
      corpus((u) => ({ ...u, speaker: u.session })),
      { ...bySpeaker, scheme: 'given' },
      /"split" for every labelled row/,
    ],
    [corpus((u) => ({ ...u, split: 'train' })), { ...bySpeaker, scheme: 'given' }, /"split" is "test"/],
    [corpus((u) => ({ ...u, split: 'test' })), { ...bySpeaker, scheme: 'given' }, /"split" is "train"/],
    [corpus(), { ...bySpeaker, validation: { by: 'random', fraction: 1 } }, /fraction between 0 and 1/],
  ];
  for (const [input, options, message] of cases) {
    assert.throws(() => makeFolds(input, options), { code: 'ERR_FOLDS', message });
  }
  const two = corpus();
  two.utterances = two.utterances.filter(({ speaker }) => ['S1F', 'S2F'].includes(speaker));
  assert.throws(() => makeFolds(two, bySpeaker), { code: 'ERR_FOLDS', message: /fold S1, which has 1/ });
});

test('fold names are fit for folders, and no two alike', () => {
  const names = { S1: '1', S2: 'a/b', S3: 'a:b' };
  const folds = makeFolds(
    corpus((u) => ({ ...u, session: names[u.session] })),
    atRandom,
  );
  assert.deepEqual(
    folds.map(({ name }) => name),
    ['session-1', 'a_b', 'a_b-2'],
  );
});

test('with dimensions, utterances with all of their values are tested and validated on, labelled or not', () => {
  const rated = corpus(({ label: _, ...u }, n) => ({
    ...u,
    ...(n % 2 === 0 ? { values: { arousal: 0.5, valence: 0.2 } } : { label: 'sad', values: { arousal: 0.5 } }),
  }));
  const folds = makeFolds(rated, { ...atRandom, dimensions: ['arousal', 'valence'] });
  const values = new Map(rated.utterances.map((u) => [u.id, u.values]));
  for (const { train, validation, test: held } of folds) {
    for (const id of [...validation, ...held]) assert.ok('valence' in values.get(id), id);
    assert.ok(train.some((id) => !('valence' in values.get(id))));
    assert.equal(held.length, 21);
  }
});

test.run();
