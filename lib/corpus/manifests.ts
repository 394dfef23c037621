import type { Stats } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { readError } from '../files/read.js';
import { type ReadRow, readCsv, readJsonl, readScp } from './formats.js';
import { BadRow, RowReader } from './row.js';
import type { Corpus, Problem, Utterance } from './types.js';

/** More rows than this are refused: the list of utterances is held in memory. */
export const MAX_ROWS = 5_000_000;

type Reader = (path: string, signal?: AbortSignal) => AsyncGenerator<ReadRow>;

const READERS: Record<string, Reader> = {
  '.jsonl': readJsonl,
  '.csv': (path, signal) => readCsv(path, undefined, signal),
  '.scp': readScp,
};
export const MANIFEST_LAYOUTS =
  'a manifest (.jsonl or .csv, with a field "audio"), an HFLEA list (.scp), or a folder that holds manifest.jsonl, manifest.csv or ' +
  'one HFLEA list each for training, validation and test (*train.scp, *valid.scp, *test.scp)';
const SHOWN_PROBLEMS = 5;

interface Manifest {
  file: string;
  read: Reader;
  split?: Utterance['split'];
}

/** A corpus in manifests, whose rows are one list. */
export interface Manifests {
  name: string;
  manifests: readonly [Manifest, ...Manifest[]];
}

/** Reads every row; relative paths start at `audioRoot`, or at the manifest. @throws `ERR_CORPUS`, `ERR_ABORTED` */
export async function readManifests(
  { name, manifests }: Manifests,
  audioRoot: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Corpus> {
  const reader = new RowReader(audioRoot ?? dirname(manifests[0].file));
  const utterances: Utterance[] = [];
  const problems: Problem[] = [];
  let count = 0;
  for (const { file, read, split } of manifests) {
    for await (const { row, raw, reason } of read(file, signal)) {
      throwIfAborted(signal);
      if (++count > MAX_ROWS) {
        throw new EmoframeError('ERR_CORPUS', `${file} has more than ${MAX_ROWS} rows. Split it.`, { file, row });
      }
      try {
        if (raw === undefined) throw new BadRow(reason);
        utterances.push(
          await reader.read(split === undefined ? raw : { ...raw, split }, `line ${row} of ${basename(file)}`),
        );
      } catch (error) {
        if (!(error instanceof BadRow)) throw error;
        problems.push({ file, row, reason: error.message });
      }
    }
  }
  if (utterances.length === 0) throw nothingUsable(manifests[0].file, problems);
  return { name, utterances, problems };
}

/** The manifest that a path is or a folder holds; undefined: neither. Errors: `ERR_READ`. */
export async function findManifests(path: string, stats: Stats): Promise<Manifests | undefined> {
  if (stats.isDirectory()) {
    const names = await readdir(path).catch((error: unknown) => {
      throw readError(path, error);
    });
    const found = ['manifest.jsonl', 'manifest.csv'].find((name) => names.includes(name));
    const manifests = found === undefined ? foldLists(path, names) : manifestAt(join(path, found));
    return manifests === undefined ? undefined : { name: basename(path), manifests };
  }
  const manifests = stats.isFile() ? manifestAt(path) : undefined;
  return manifests === undefined ? undefined : { name: basename(path, extname(path)), manifests };
}

function manifestAt(file: string): [Manifest] | undefined {
  const read = READERS[extname(file).toLowerCase()];
  return read === undefined ? undefined : [{ file, read }];
}

/** The three lists of one HFLEA fold, if the folder holds exactly these; its manual says "valid", its code "dev". */
function foldLists(folder: string, names: string[]): [Manifest, ...Manifest[]] | undefined {
  const lists = names.filter((name) => name.endsWith('.scp'));
  const endings = { train: /train\.scp$/, validation: /(valid|dev)\.scp$/, test: /test\.scp$/ } as const;
  const [first, ...others] = (['train', 'validation', 'test'] as const).flatMap((split) =>
    lists
      .filter((name) => endings[split].test(name))
      .map((name) => ({ file: join(folder, name), read: readScp, split })),
  );
  const splits = new Set([first, ...others].map((list) => list?.split));
  return first !== undefined && lists.length === 3 && splits.size === 3 ? [first, ...others] : undefined;
}

function nothingUsable(file: string, problems: Problem[]): EmoframeError {
  if (problems.length === 0) return new EmoframeError('ERR_CORPUS', `${file} has no rows.`, { file });
  const row = problems[0]?.row;
  const shown = problems.slice(0, SHOWN_PROBLEMS).map(({ row, reason }) => `line ${row}: ${reason}`);
  const more = problems.length > shown.length ? `; and ${problems.length - shown.length} more` : '';
  return new EmoframeError('ERR_CORPUS', `${file} has no row that can be used. ${shown.join('; ')}${more}.`, {
    file,
    row,
  });
}
