import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { type ReadRow, readCsv, readJsonl, readScp } from './formats.js';
import { BadRow, RowReader } from './row.js';
import type { Corpus, Problem, Utterance } from './types.js';

/** More rows than this are refused: the list of utterances is held in memory. */
export const MAX_ROWS = 5_000_000;

const READERS: Record<string, (path: string) => AsyncGenerator<ReadRow>> = {
  '.jsonl': readJsonl,
  '.csv': readCsv,
  '.scp': readScp,
};
const LAYOUTS =
  'a manifest (.jsonl or .csv, with a field "audio"), an HFLEA list (.scp), or a folder that holds manifest.jsonl, manifest.csv or ' +
  'one HFLEA list each for training, validation and test (*train.scp, *valid.scp, *test.scp)';
const SHOWN_PROBLEMS = 5;

/**
 * Reads a corpus: a JSONL or CSV manifest, an HFLEA `.scp`, or a folder with `manifest.jsonl`, `manifest.csv` or the
 * three lists of an HFLEA fold (`*train.scp`, `*valid.scp`, `*test.scp`), whose rows then have that `split`.
 *
 * A manifest's fields are `audio` (a path; relative ones start at the manifest's folder), and optionally `id`, `label`,
 * `speaker`, `session`, `split` (train, validation, test), `start`, `end` (seconds into the file) and `segments`
 * (`[{start, end, label}]`, seconds from the utterance's start; JSON text in CSV). Other fields are ignored. A row
 * without `id` gets its path's. A row that cannot be used is left out and listed in `problems` with its line and reason.
 *
 * @throws `ERR_FILE_NOT_FOUND`; `ERR_CORPUS` for what is not recognised or has no usable row; `ERR_ABORTED`
 * @example
 * const corpus = await readCorpus('corpus/manifest.jsonl');
 * for (const { row, reason } of corpus.problems) console.warn(`line ${row}: ${reason}`);
 */
export async function readCorpus(path: string, options: { signal?: AbortSignal } = {}): Promise<Corpus> {
  const { name, manifests } = await findManifests(resolve(path));
  const reader = new RowReader(dirname(manifests[0].file));
  const utterances: Utterance[] = [];
  const problems: Problem[] = [];
  let count = 0;
  for (const { file, split } of manifests) {
    for await (const { row, raw, reason } of READERS[extname(file).toLowerCase()](file)) {
      throwIfAborted(options.signal);
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

interface Manifest {
  file: string;
  /** The split of all its rows. */
  split?: Utterance['split'];
}

async function findManifests(path: string): Promise<{ name: string; manifests: Manifest[] }> {
  const stats = await stat(path).catch((error: unknown) => {
    throw new EmoframeError('ERR_FILE_NOT_FOUND', `There is no corpus ${path}: expected ${LAYOUTS}.`, {
      file: path,
      cause: error,
    });
  });
  if (stats.isDirectory()) {
    const names = await readdir(path);
    const found = ['manifest.jsonl', 'manifest.csv'].find((name) => names.includes(name));
    const manifests = found === undefined ? foldLists(path, names) : [{ file: join(path, found) }];
    if (manifests !== undefined) return { name: basename(path), manifests };
    throw new EmoframeError('ERR_CORPUS', `The folder ${path} is not a known corpus: expected ${LAYOUTS}.`, {
      file: path,
    });
  }
  const extension = extname(path);
  if (!stats.isFile() || !(extension.toLowerCase() in READERS)) {
    throw new EmoframeError('ERR_CORPUS', `${path} is not a known kind of corpus: expected ${LAYOUTS}.`, {
      file: path,
    });
  }
  return { name: basename(path, extension), manifests: [{ file: path }] };
}

/** The three lists of one HFLEA fold, if the folder holds exactly these; its manual says "valid", its code "dev". */
function foldLists(folder: string, names: string[]): Manifest[] | undefined {
  const lists = names.filter((name) => name.endsWith('.scp'));
  const endings = { train: /train\.scp$/, validation: /(valid|dev)\.scp$/, test: /test\.scp$/ } as const;
  const manifests = (['train', 'validation', 'test'] as const).flatMap((split) =>
    lists.filter((name) => endings[split].test(name)).map((name) => ({ file: join(folder, name), split })),
  );
  const complete = lists.length === 3 && new Set(manifests.map(({ split }) => split)).size === 3;
  return complete ? manifests : undefined;
}

function nothingUsable(file: string, problems: Problem[]): EmoframeError {
  if (problems.length === 0) return new EmoframeError('ERR_CORPUS', `${file} has no rows.`, { file });
  const shown = problems.slice(0, SHOWN_PROBLEMS).map(({ row, reason }) => `line ${row}: ${reason}`);
  const more = problems.length > shown.length ? `; and ${problems.length - shown.length} more` : '';
  return new EmoframeError('ERR_CORPUS', `${file} has no row that can be used. ${shown.join('; ')}${more}.`, {
    file,
    ...(problems[0].row === undefined ? {} : { row: problems[0].row }),
  });
}
