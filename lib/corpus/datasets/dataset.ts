import { yieldWhenDue } from '../../yield.js';
import type { KnownSchemes } from '../labelScheme.js';
import type { CustomaryFolds, GivenFold, Problem, Utterance } from '../types.js';
import { Folder } from './folder.js';

/** An utterance as a dataset has it, with its annotated label; or why there is none; or a part of the dataset that is not asked for. */
export type DatasetRow = { file: string; row?: number } & (
  | { utterance: Utterance }
  | { reason: string }
  | { part: string }
);

/** Where a dataset's reader looks. */
export interface DatasetSource {
  /** The folder that was given. */
  folder: Folder;
  /** Where audio lies, when that is another folder. */
  audioRoot?: string;
  signal?: AbortSignal;
}

/** One dataset whose layout is known. */
export interface Dataset extends KnownSchemes {
  /** What `--dataset` takes. */
  readonly name: string;
  /** What its folder is recognised by, for messages. */
  readonly layout: string;
  /** The first is taken unless another is asked for; none: `all`. */
  readonly schemes: Readonly<Record<string, string>>;
  /** How results are customarily reported, from what was read. */
  customary(utterances: readonly Utterance[]): CustomaryFolds;
  /**
   * How much of a folder is this dataset, 0 to 1: of those known by an annotation file, 1 where it is there; of those known by
   * the names of audio files, their share.
   */
  recognise(folder: Folder): Promise<number>;
  read(source: DatasetSource): AsyncIterable<DatasetRow>;
  /** Splits that the dataset gives beside the utterances, of those that are read; and the rows that are none. */
  folds?(source: DatasetSource, ids: ReadonlySet<string>): Promise<{ folds: GivenFold[]; problems: Problem[] }>;
}

/** For a dataset that is known by a file of its own: 1 where the folder has one. */
export async function has(files: readonly string[], pattern: RegExp): Promise<number> {
  for (const file of files) {
    await yieldWhenDue();
    if (pattern.test(file)) return 1;
  }
  return 0;
}

/** Where audio is looked for. @throws as `Folder.list` */
export async function audioOf({ folder, audioRoot, signal }: DatasetSource): Promise<Folder> {
  return audioRoot === undefined ? folder : Folder.list(audioRoot, signal);
}

/** A session at a time, as the field does where sessions share no speaker. */
export const bySession = (): CustomaryFolds => ({ scheme: 'session' });
/** A speaker at a time. */
export const bySpeaker = (): CustomaryFolds => ({ scheme: 'speaker' });
