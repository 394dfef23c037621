// A split in a file: what a run writes as folds.json, and takes back.
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { readJson } from '../files/json.js';
import { describeIssues, listOf, mostIssues } from '../issues.js';
import { partsOf } from '../lists.js';
import {
  type Fold,
  type FoldOptions,
  foldError,
  isLabelled,
  refuseSharedSpeakers,
  withTargetsAsLabels,
} from './folds.js';
import type { Corpus, Utterance } from './types.js';

const MAX_BYTES = 2 ** 30;
const ids = listOf(z.string().min(1));
const sides = ['train', 'validation', 'test'] as const;

function splitOf<Ids extends z.ZodType>(ids: Ids) {
  return z
    .array(
      z.strictObject({
        // It becomes a folder's name.
        name: z
          .string()
          .regex(/^(?!\.)[\p{L}\p{N}._-]{1,100}$/u, 'Expected a name of letters, digits, dots, dashes and underscores'),
        train: ids,
        validation: ids,
        test: ids,
      }),
    )
    .min(1);
}

/** @internal */
export const foldsSchema = splitOf(ids);
/** The same but for the items of the lists, which may be a million. */
const outline = splitOf(z.custom<unknown[]>(Array.isArray, 'Invalid input: expected array'));

/**
 * Reads a split: a JSON list of `{name, train, validation, test}`, each of the last three a list of utterances' ids. A run
 * writes its own as `folds.json`.
 *
 * @throws `ERR_FOLDS` for anything else, naming the file; `ERR_FILE_NOT_FOUND`, `ERR_READ`
 * @example
 * const trainer = await Trainer.open({ ...options, folds: await readFolds('runs/a/folds.json') });
 */
export async function readFolds(file: string): Promise<Fold[]> {
  const refuse = (reason: string, cause?: unknown) =>
    new EmoframeError(
      'ERR_FOLDS',
      `${file} is not a split: ${reason}. Expected a list of {name, train, validation, test}.`,
      { file, cause },
    );
  const value = await readJson(file, MAX_BYTES, refuse);
  const result = outline.safeParse(value);
  if (!result.success) throw refuse(describeIssues(result.error));
  const wrong: z.core.$ZodIssue[] = [];
  for (const [fold, lists] of result.data.entries()) {
    for (const side of sides) {
      for await (const { start, part } of partsOf(lists[side])) {
        for (const issue of ids.safeParse(part).error?.issues ?? [])
          wrong.push({ ...issue, path: [fold, side, start + Number(issue.path[0])] });
        if (wrong.length >= mostIssues) break;
      }
    }
  }
  if (wrong.length > 0) throw refuse(describeIssues(new z.ZodError(wrong)));
  return result.data as Fold[];
}

/**
 * A split that fits the corpus: all its utterances are there, those to validate and test on are labelled, none is on two
 * sides, and no speaker is in training and test unless that is allowed.
 *
 * @throws `ERR_FOLDS` naming the fold and the utterance or speaker
 */
export async function checkFolds(
  corpus: Corpus,
  folds: readonly Fold[],
  { allowSharedSpeakers, dimensions }: Pick<FoldOptions, 'allowSharedSpeakers' | 'dimensions'>,
): Promise<readonly Fold[]> {
  const { utterances: targeted } = withTargetsAsLabels(corpus, dimensions);
  const utterances = new Map<string, Utterance>();
  for await (const { part } of partsOf(targeted)) {
    for (const utterance of part) utterances.set(utterance.id, utterance);
  }
  const names = new Set<string>();
  for (const { name, train, validation, test } of folds) {
    if (names.has(name)) throw foldError(`The split has two folds ${name}`);
    names.add(name);
    const seen = new Set<string>();
    const findOne = (id: string, side: string) => {
      const utterance = utterances.get(id);
      if (utterance === undefined)
        throw foldError(`Fold ${name} has ${id} to ${side} on, which the corpus does not have`);
      if (side !== 'train' && !isLabelled(utterance)) {
        throw foldError(`Fold ${name} has ${id} to ${side} on, which has no label`);
      }
      if (seen.has(id)) throw foldError(`Fold ${name} has ${id} twice`);
      seen.add(id);
      return utterance;
    };
    const find = async (list: readonly string[], side: string) => {
      const found: Utterance[] = [];
      for await (const { part } of partsOf(list)) for (const id of part) found.push(findOne(id, side));
      return found;
    };
    const training = await find(train, 'train');
    const validating = await find(validation, 'validate');
    const tested = await find(test, 'test');
    for (const [side, list] of [
      ['train', training],
      ['validate', validating],
      ['test', tested],
    ] as const) {
      if (!list.some(isLabelled)) throw foldError(`Fold ${name} has no labelled utterance to ${side} on`);
    }
    if (!allowSharedSpeakers) refuseSharedSpeakers([...training, ...validating], tested, name);
  }
  return folds;
}
