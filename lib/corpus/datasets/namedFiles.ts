import { own } from '../../own.js';
import { yieldWhenDue } from '../../yield.js';
import type { CustomaryFolds, Utterance } from '../types.js';
import type { Dataset, DatasetRow, DatasetSource } from './dataset.js';

/** What a file's name says: an utterance, a part of the dataset that is not asked for, or why it is neither. */
export type Named =
  | Pick<Utterance, 'id' | 'label' | 'speaker' | 'session' | 'split'>
  | { part: string }
  | { reason: string };

/** No system has longer ones, while a table of names may have anything. */
const longestPath = 4096;

interface NamedFiles {
  name: string;
  layout: string;
  schemes?: Record<string, string>;
  /** Matches a path below the folder, without extension, with `/` between names. */
  pattern: RegExp;
  /** What its groups say. */
  read(...groups: string[]): Named;
  /** Labels of what the names call otherwise. */
  emotions?: Readonly<Record<string, string>>;
  customary(utterances: readonly Utterance[]): CustomaryFolds;
}

/** A dataset whose annotations are in the names of its audio files. */
export interface NamedDataset extends Dataset {
  /** What the path of an audio file, with `/` between names, says; undefined: it is not named as in this dataset. */
  named(file: string): Named | undefined;
}

export function namedFiles({
  name,
  layout,
  schemes = {},
  pattern,
  read,
  emotions = {},
  customary,
}: NamedFiles): NamedDataset {
  const named = (file: string): Named | undefined => {
    if (file.length > longestPath) return undefined;
    const match = pattern.exec(file.slice(0, file.lastIndexOf('.')));
    if (match === null) return undefined;
    const found = read(...match.slice(1));
    return 'id' in found && found.label !== undefined
      ? { ...found, label: own(emotions, found.label) ?? found.label }
      : found;
  };
  return {
    named,
    name,
    layout,
    schemes,
    unlabelled: [],
    customary,
    recognise: async ({ audio }) => {
      let own = 0;
      for (const file of audio) {
        await yieldWhenDue();
        const found = named(file);
        if (found !== undefined && 'id' in found) own++;
      }
      return audio.length === 0 ? 0 : own / audio.length;
    },
    async *read({ folder }: DatasetSource): AsyncGenerator<DatasetRow> {
      for (const path of folder.audio) {
        await yieldWhenDue();
        const file = folder.path(path);
        const found = named(path);
        if (found === undefined) yield { file, reason: `its name does not follow the naming of ${name} (${layout})` };
        else yield 'id' in found ? { file, utterance: { ...found, audio: file } } : { file, ...found };
      }
    },
  };
}
