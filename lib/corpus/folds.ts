import { createHash } from 'node:crypto';
import { EmoframeError } from '../errors.js';
import type { Corpus, GivenFold, Utterance } from './types.js';
import { hasValues } from './values.js';

/** One round of cross-validation: ids of utterances. */
export interface Fold {
  /** Fit for a folder's name. */
  name: string;
  /** Those without a label are here for pretraining only. */
  train: string[];
  validation: string[];
  test: string[];
}

export interface FoldOptions {
  /**
   * What is held out for testing: each session in turn, each speaker in turn, each of `count` groups of speakers, what the
   * corpus gives (its folds, or `split`), or what is customary for the dataset (a session where nothing is).
   */
  scheme: 'customary' | 'session' | 'speaker' | 'speakers' | 'given';
  /** Folds of `speakers`; of `customary`, the dataset says. Default: 5. */
  count?: number;
  /**
   * How validation is cut from training: whole speakers, or utterances at random with each label's share kept. Not used
   * with `given` where the corpus names its own validation utterances.
   */
  validation: { by: 'speaker' | 'random'; fraction: number };
  /** The same seed and corpus give the same folds, whatever the order of its rows. */
  seed: number;
  /** Let a speaker be in training and in the test session. Say so beside any figure. */
  allowSharedSpeakers?: boolean;
  /** For a regression: utterances with values of all of these take the place of labelled ones. Null as absent. */
  dimensions?: readonly string[] | null;
}

/**
 * Cuts a corpus into folds. Nothing without a label is tested or validated on; unlabelled utterances of those who are
 * tested or validated on are left out, so that training never sees them.
 *
 * @throws `ERR_FOLDS` where the corpus cannot be cut so, naming the session, speaker or utterance in the way
 * @example
 * const folds = makeFolds(corpus, { scheme: 'session', validation: { by: 'speaker', fraction: 0.2 }, seed: 1 });
 */
export function makeFolds(given: Corpus, options: FoldOptions): Fold[] {
  const corpus = withTargetsAsLabels(given, options.dimensions);
  const { fraction } = options.validation;
  if (!(fraction > 0 && fraction < 1)) {
    throw foldError(`Expected a validation fraction between 0 and 1 but received ${fraction}`);
  }
  const resolved = resolveFolds(corpus, options);
  switch (resolved.scheme) {
    case 'given':
      return givenFolds(corpus, resolved);
    case 'speakers':
      return heldOutFolds(corpus, 'speaker', groupSpeakers(corpus, resolved), resolved);
    default:
      return heldOutFolds(corpus, resolved.scheme, undefined, resolved);
  }
}

/** For a regression, whose utterances are all alike as far as folds go: those with values are as if of one label. */
export function withTargetsAsLabels(corpus: Corpus, dimensions: FoldOptions['dimensions']): Corpus {
  if (dimensions === null || dimensions === undefined) return corpus;
  const utterances = corpus.utterances.map(({ label: _, ...utterance }) =>
    hasValues(utterance, dimensions) ? { ...utterance, label: 'rated' } : utterance,
  );
  return { ...corpus, utterances };
}

/** Folds as a corpus's customs have them: what `customary` stands for is put in its place. */
export function resolveFolds<Options extends Pick<FoldOptions, 'scheme' | 'count' | 'allowSharedSpeakers'>>(
  corpus: Corpus,
  options: Options,
): Options & { scheme: Exclude<FoldOptions['scheme'], 'customary'> } {
  const { scheme } = options;
  if (scheme !== 'customary') return { ...options, scheme };
  return { ...options, scheme: 'session', ...corpus.customary };
}

export function foldError(sentence: string): EmoframeError {
  return new EmoframeError('ERR_FOLDS', `${sentence}.`);
}

export function isLabelled(utterance: Utterance): boolean {
  return utterance.label !== undefined;
}

function givenFolds(corpus: Corpus, options: FoldOptions): Fold[] {
  const folds = corpus.folds === undefined ? [splitFold(corpus)] : corpus.folds.map((fold) => pick(corpus, fold));
  for (const { name, train, validation, test } of folds) {
    const lacks = (side: string) =>
      corpus.folds === undefined
        ? foldError(`Given splits need labelled rows whose "split" is "${side}"`)
        : foldError(`Fold ${name}, which the dataset gives, has no labelled utterance to ${side} on`);
    if (test.length === 0) throw lacks('test');
    if (!train.some(isLabelled)) throw lacks('train');
    if (options.allowSharedSpeakers !== true) refuseSharedSpeakers([...train, ...validation], test, name);
  }
  return folds.map(({ name, train, validation, test }) =>
    validation.length > 0
      ? { name, train: ids(train), validation: ids(validation), test: ids(test) }
      : { name, ...cutValidation(train, name, options), test: ids(test) },
  );
}

interface Sides {
  name: string;
  train: Utterance[];
  validation: Utterance[];
  test: Utterance[];
}

/** What `split` says. */
function splitFold(corpus: Corpus): Sides {
  const homeless = corpus.utterances.find((utterance) => isLabelled(utterance) && utterance.split === undefined);
  if (homeless !== undefined)
    throw foldError(`Given splits need a "split" for every labelled row: ${homeless.id} has none`);
  const of = (split: Utterance['split']) => corpus.utterances.filter((utterance) => utterance.split === split);
  return {
    name: 'given',
    train: corpus.utterances.filter(({ split }) => split === 'train' || split === undefined),
    validation: of('validation').filter(isLabelled),
    test: of('test').filter(isLabelled),
  };
}

/** A fold of the dataset's own; what the label scheme left out is not in it. */
function pick(corpus: Corpus, { name, train, validation = [], test }: GivenFold): Sides {
  const utterancesOf = (list: readonly string[]) => {
    const members = new Set(list);
    return corpus.utterances.filter(({ id }) => members.has(id));
  };
  return {
    name,
    train: utterancesOf(train),
    validation: utterancesOf(validation).filter(isLabelled),
    test: utterancesOf(test).filter(isLabelled),
  };
}

/** @throws `ERR_FOLDS` naming a speaker who is on both sides */
export function refuseSharedSpeakers(training: readonly Utterance[], test: readonly Utterance[], fold: string): void {
  const tested = new Set(test.flatMap(({ speaker }) => speaker ?? []));
  const shared = training.find(({ speaker }) => speaker !== undefined && tested.has(speaker));
  if (shared === undefined) return;
  throw foldError(
    `Speaker ${shared.speaker} is in both training (${shared.id}) and test of fold ${fold}: the test would know the ` +
      'voice. Allow shared speakers (folds.allowSharedSpeakers in the config) where that is meant',
  );
}

/** Whether some speaker is in training and in the test of what a corpus gives. */
export function givenSharesSpeakers(corpus: Corpus): boolean {
  const speakersOf = (list: readonly Utterance[]) => list.flatMap(({ speaker }) => speaker ?? []);
  const of = (...splits: Utterance['split'][]) => corpus.utterances.filter(({ split }) => splits.includes(split));
  const folds =
    corpus.folds === undefined
      ? [{ training: of('train', 'validation'), test: of('test') }]
      : corpus.folds.map((fold) => {
          const { train, validation, test } = pick(corpus, fold);
          return { training: [...train, ...validation], test };
        });
  return folds.some(({ training, test }) => {
    const tested = new Set(speakersOf(test));
    return speakersOf(training).some((speaker) => tested.has(speaker));
  });
}

/** `count` groups of whole speakers with as equal a number of labelled utterances as that allows. */
function groupSpeakers(corpus: Corpus, { count = 5, seed }: FoldOptions): Group[] {
  const labelled = corpus.utterances.filter(isLabelled);
  const sizes = new Map<string, number>();
  for (const { speaker } of labelled) {
    if (speaker !== undefined) sizes.set(speaker, (sizes.get(speaker) ?? 0) + 1);
  }
  if (!Number.isInteger(count) || count < 2) {
    throw foldError(`Expected 2 or more groups of speakers but received ${count}`);
  }
  if (sizes.size < count) {
    throw foldError(`${count} groups of speakers need as many speakers; the corpus has ${sizes.size}`);
  }
  const groups = Array.from({ length: count }, (_, i) => ({ name: `fold-${i + 1}`, members: [] as string[], size: 0 }));
  const byName = [...sizes].sort(([a], [b]) => (a < b ? -1 : 1));
  const shuffled = sortBy(byName, ([speaker]) => rank(seed, 'speakers', speaker));
  // The largest first, each to the smallest group: of equal speakers, in turn.
  for (const [speaker, size] of shuffled.sort(([, a], [, b]) => b - a)) {
    const least = groups.reduce((best, group) =>
      group.size < best.size || (group.size === best.size && group.members.length < best.members.length) ? group : best,
    );
    least.members.push(speaker);
    least.size += size;
  }
  return groups;
}

/** What one fold holds out: values of the field that folds are made by. */
interface Group {
  name: string;
  members: string[];
}

function heldOutFolds(
  corpus: Corpus,
  field: 'session' | 'speaker',
  given: Group[] | undefined,
  options: FoldOptions,
): Fold[] {
  const labelled = corpus.utterances.filter(isLabelled);
  const homeless = labelled.find((utterance) => utterance[field] === undefined);
  if (homeless !== undefined) {
    throw foldError(`Folds by ${field} need a "${field}" for every labelled row: ${homeless.id} has none`);
  }
  const values = distinct(labelled, field);
  if (values.length < 2) {
    throw foldError(`Folds by ${field} need labelled rows of at least 2 ${field}s; the corpus has ${values.length}`);
  }
  const groups = given ?? namedGroups(values, field);
  return groups.map(({ name, members }) => {
    const held = new Set(members);
    const isHeld = (utterance: Utterance) => held.has(utterance[field] ?? '');
    const test = labelled.filter(isHeld);
    const testSpeakers = new Set(distinct(test, 'speaker'));
    const others = corpus.utterances.filter((utterance) => !isHeld(utterance));
    const shared = others.find((utterance) => isLabelled(utterance) && testSpeakers.has(utterance.speaker ?? ''));
    if (shared !== undefined && options.allowSharedSpeakers !== true) {
      throw foldError(
        `Speaker ${shared.speaker} appears in sessions ${members[0]} and ${shared.session}: the test would know the ` +
          'voice. Give speakers names of their own in each session, or allow shared speakers',
      );
    }
    // Unlabelled speech of a tested speaker without a session of its own must not teach the voice either.
    const train = others.filter(
      (utterance) =>
        options.allowSharedSpeakers === true || utterance.speaker === undefined || !testSpeakers.has(utterance.speaker),
    );
    return { name, ...cutValidation(train, name, options), test: ids(test) };
  });
}

function cutValidation(
  pool: Utterance[],
  fold: string,
  options: FoldOptions,
): { train: string[]; validation: string[] } {
  const { by, fraction } = options.validation;
  const labelled = pool.filter(isLabelled);
  const order = (key: string) => rank(options.seed, fold, key);
  if (by === 'speaker') {
    const nameless = labelled.find((utterance) => utterance.speaker === undefined);
    if (nameless !== undefined) {
      throw foldError(`Validation by speaker needs a "speaker" for every labelled row: ${nameless.id} has none`);
    }
    const speakers = distinct(labelled, 'speaker');
    if (speakers.length < 2) {
      throw foldError(
        `Validation by speaker needs 2 speakers to train on in fold ${fold}, which has ${speakers.length}. ` +
          'Choose validation at random instead',
      );
    }
    const count = Math.min(speakers.length - 1, Math.max(1, Math.round(fraction * speakers.length)));
    const chosen = new Set(sortBy(speakers, order).slice(0, count));
    const isChosen = (utterance: Utterance) => utterance.speaker !== undefined && chosen.has(utterance.speaker);
    return {
      train: ids(pool.filter((utterance) => !isChosen(utterance))),
      validation: ids(labelled.filter(isChosen)),
    };
  }
  const chosen = new Set<string>();
  for (const label of distinct(labelled, 'label')) {
    const members = ids(labelled.filter((utterance) => utterance.label === label));
    // A label keeps at least one utterance on each side where it has two.
    const count = Math.min(members.length - 1, Math.max(1, Math.round(fraction * members.length)));
    for (const id of sortBy(members, order).slice(0, count)) chosen.add(id);
  }
  if (chosen.size === 0) throw foldError(`Fold ${fold} has too few labelled rows to set some aside for validation`);
  return {
    train: ids(pool).filter((id) => !chosen.has(id)),
    validation: ids(labelled).filter((id) => chosen.has(id)),
  };
}

function ids(utterances: Utterance[]): string[] {
  return utterances.map((utterance) => utterance.id);
}

/** The field's values, sorted, so that the corpus's order does not matter. */
function distinct(utterances: Utterance[], field: 'session' | 'speaker' | 'label'): string[] {
  return [...new Set(utterances.flatMap((utterance) => utterance[field] ?? []))].sort();
}

/** A shuffle without a state: each key has a place of its own that only the seed and the fold decide. */
function rank(seed: number, fold: string, key: string): string {
  return createHash('sha256')
    .update(JSON.stringify([seed, fold, key]))
    .digest('hex');
}

function sortBy<Key>(keys: Key[], place: (key: Key) => string): Key[] {
  return keys
    .map((key) => ({ key, place: place(key) }))
    .sort((a, b) => (a.place < b.place ? -1 : 1))
    .map(({ key }) => key);
}

/** Letters, digits, dots, dashes and underscores only, and no two alike. */
function namedGroups(values: string[], field: string): { name: string; members: string[] }[] {
  const names = new Set<string>();
  return values.map((value) => {
    const plain = value
      .replace(/[^\p{L}\p{N}._-]/gu, '_')
      .replace(/^\.+/, '_')
      .slice(0, 100);
    // A number alone says little in a list of folders.
    const stem = /^\d*$/.test(plain) ? `${field}-${plain}` : plain;
    let name = stem;
    for (let i = 2; names.has(name); i++) name = `${stem}-${i}`;
    names.add(name);
    return { name, members: [value] };
  });
}
