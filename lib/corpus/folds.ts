import { createHash } from 'node:crypto';
import { EmoframeError } from '../errors.js';
import type { Corpus, Utterance } from './types.js';

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
  /** What is held out for testing: each session in turn, each speaker in turn, or what `split` says. */
  scheme: 'session' | 'speaker' | 'given';
  /**
   * How validation is cut from training: whole speakers, or utterances at random with each label's share kept. Not used
   * with `given` where the corpus names its own validation utterances.
   */
  validation: { by: 'speaker' | 'random'; fraction: number };
  /** The same seed and corpus give the same folds, whatever the order of its rows. */
  seed: number;
  /** Let a speaker be heard in training and in the test session. Say so beside any figure. */
  allowSharedSpeakers?: boolean;
}

/**
 * Cuts a corpus into folds. Nothing without a label is tested or validated on; unlabelled utterances of those who are
 * tested or validated on are left out, so that they stay unheard in training.
 *
 * @throws `ERR_FOLDS` where the corpus cannot be cut so, naming the session, speaker or utterance in the way
 * @example
 * const folds = makeFolds(corpus, { scheme: 'session', validation: { by: 'speaker', fraction: 0.2 }, seed: 1 });
 */
export function makeFolds(corpus: Corpus, options: FoldOptions): Fold[] {
  const { fraction } = options.validation;
  if (!(fraction > 0 && fraction < 1)) {
    throw foldError(`Expected a validation fraction between 0 and 1 but received ${fraction}`);
  }
  return options.scheme === 'given' ? [givenFold(corpus, options)] : heldOutFolds(corpus, options.scheme, options);
}

function foldError(sentence: string): EmoframeError {
  return new EmoframeError('ERR_FOLDS', `${sentence}.`);
}

function isLabelled(utterance: Utterance): boolean {
  return utterance.label !== undefined;
}

function givenFold(corpus: Corpus, options: FoldOptions): Fold {
  const homeless = corpus.utterances.find((utterance) => isLabelled(utterance) && utterance.split === undefined);
  if (homeless !== undefined)
    throw foldError(`Given splits need a "split" for every labelled row: ${homeless.id} has none`);
  const of = (split: Utterance['split']) => corpus.utterances.filter((utterance) => utterance.split === split);
  const test = of('test').filter(isLabelled);
  const validation = of('validation').filter(isLabelled);
  const train = corpus.utterances.filter(({ split }) => split === 'train' || split === undefined);
  if (test.length === 0) throw foldError('Given splits need labelled rows whose "split" is "test"');
  if (!train.some(isLabelled)) throw foldError('Given splits need labelled rows whose "split" is "train"');
  return validation.length > 0
    ? { name: 'given', train: ids(train), validation: ids(validation), test: ids(test) }
    : { name: 'given', ...cutValidation(train, 'given', options), test: ids(test) };
}

function heldOutFolds(corpus: Corpus, field: 'session' | 'speaker', options: FoldOptions): Fold[] {
  const labelled = corpus.utterances.filter(isLabelled);
  const homeless = labelled.find((utterance) => utterance[field] === undefined);
  if (homeless !== undefined) {
    throw foldError(`Folds by ${field} need a "${field}" for every labelled row: ${homeless.id} has none`);
  }
  const groups = distinct(labelled, field);
  if (groups.length < 2) {
    throw foldError(`Folds by ${field} need labelled rows of at least 2 ${field}s; the corpus has ${groups.length}`);
  }
  const names = folderNames(groups, field);
  return groups.map((group, index) => {
    const test = labelled.filter((utterance) => utterance[field] === group);
    const testSpeakers = new Set(distinct(test, 'speaker'));
    const others = corpus.utterances.filter((utterance) => utterance[field] !== group);
    const shared = others.find((utterance) => isLabelled(utterance) && testSpeakers.has(utterance.speaker ?? ''));
    if (shared !== undefined && options.allowSharedSpeakers !== true) {
      throw foldError(
        `Speaker ${shared.speaker} is heard in session ${group} and in session ${shared.session}: the test would know ` +
          'the voice. Give speakers names of their own in each session, or allow shared speakers',
      );
    }
    // Unlabelled speech of a tested speaker without a session of its own must not teach the voice either.
    const train = others.filter(
      (utterance) =>
        options.allowSharedSpeakers === true || utterance.speaker === undefined || !testSpeakers.has(utterance.speaker),
    );
    return { name: names[index], ...cutValidation(train, names[index], options), test: ids(test) };
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
          'Cut validation at random instead',
      );
    }
    const count = Math.min(speakers.length - 1, Math.max(1, Math.round(fraction * speakers.length)));
    const chosen = new Set(sortBy(speakers, order).slice(0, count));
    const heard = (utterance: Utterance) => utterance.speaker !== undefined && chosen.has(utterance.speaker);
    return {
      train: ids(pool.filter((utterance) => !heard(utterance))),
      validation: ids(labelled.filter(heard)),
    };
  }
  const chosen = new Set<string>();
  for (const label of distinct(labelled, 'label')) {
    const members = ids(labelled.filter((utterance) => utterance.label === label));
    // A label keeps at least one utterance on each side where it has two.
    const count = Math.min(members.length - 1, Math.max(1, Math.round(fraction * members.length)));
    for (const id of sortBy(members, order).slice(0, count)) chosen.add(id);
  }
  if (chosen.size === 0) throw foldError(`Fold ${fold} has too few labelled rows to cut validation from`);
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

function sortBy(keys: string[], place: (key: string) => string): string[] {
  return keys
    .map((key) => ({ key, place: place(key) }))
    .sort((a, b) => (a.place < b.place ? -1 : 1))
    .map(({ key }) => key);
}

/** Letters, digits, dots, dashes and underscores only, and no two alike. */
function folderNames(groups: string[], field: string): string[] {
  const names = new Set<string>();
  return groups.map((group) => {
    const plain = group
      .replace(/[^\p{L}\p{N}._-]/gu, '_')
      .replace(/^\.+/, '_')
      .slice(0, 100);
    // A number alone says little in a list of folders.
    const stem = /^\d*$/.test(plain) ? `${field}-${plain}` : plain;
    let name = stem;
    for (let i = 2; names.has(name); i++) name = `${stem}-${i}`;
    names.add(name);
    return name;
  });
}
