import { resolve } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { statsOf, unlessAbsent } from '../files/read.js';
import { given } from '../given.js';
import { abortSignal, parseOptions, type Shape, strictOptions } from '../issues.js';
import { quoted } from '../quote.js';
import { Folder } from './datasets/folder.js';
import { DATASET_LAYOUTS, datasetNamed, readDataset, recogniseDataset, takesAudioRoot } from './datasets/index.js';
import { applyLabelScheme, OTHERS, type Others, parseLabelScheme } from './labelScheme.js';
import { findManifests, MANIFEST_LAYOUTS, readManifests } from './manifests.js';
import type { Corpus } from './types.js';

/** How a corpus is read. */
export interface ReadCorpusOptions {
  /** The dataset that a folder is, in place of recognising it; see docs/datasets.md for the names. */
  dataset?: string;
  /**
   * The classes: a scheme of the dataset (`iemocap-4`), `all` for every label as annotated, or classes with the labels that
   * each is made of: `ang,hap=hap+exc,neu,sad`. Default: the dataset's customary scheme; of a manifest, its labels.
   */
  labels?: string;
  /** What becomes of utterances of other labels: `leave-out` (default), or `pretrain`: they stay as unlabelled speech. */
  others?: Others;
  /**
   * Where audio lies: of a manifest, where relative paths start (default: its folder); of a dataset with annotation files, the
   * folder in which its audio is looked for (default: its own).
   */
  audioRoot?: string;
  signal?: AbortSignal;
}

const optionsSchema = strictOptions({
  dataset: z.string().exactOptional(),
  labels: z.string().min(1).exactOptional(),
  others: z.enum(OTHERS).exactOptional(),
  audioRoot: z.string().min(1).exactOptional(),
  signal: abortSignal.exactOptional(),
} satisfies Shape<ReadCorpusOptions>);

/**
 * Reads a corpus: the folder of a dataset whose layout is known (IEMOCAP, RAVDESS, CREMA-D, EMO-DB, TESS, SAVEE, ESD,
 * MSP-IMPROV, MSP-Podcast, MELD, JL-Corpus, EmoV-DB, ZED, a set of EmoBox), a JSONL or CSV manifest, an HFLEA `.scp`, or a
 * folder with `manifest.jsonl`, `manifest.csv` or the three lists of an HFLEA fold (`*train.scp`, `*valid.scp`, `*test.scp`),
 * whose rows then have that `split`.
 *
 * A manifest's fields are `audio` (a path; relative ones start at the manifest's folder), and optionally `id`, `label`,
 * `speaker`, `session`, `split` (train, validation, test), `start`, `end` (seconds into the file), `channel` (of the file,
 * counted from 1; absent: the mean of all), `segments` (`[{start, end, label}]`, seconds from the utterance's start) and `values`
 * (`{arousal: 0.4, …}`); both are JSON text in CSV. Other fields are ignored. A row
 * without `id` gets its path's. A row that cannot be used is left out and listed in `problems` with its line and reason.
 *
 * @throws `ERR_FILE_NOT_FOUND`; `ERR_CORPUS` for what is not recognised, is like several datasets, or has nothing usable;
 * `ERR_ARGUMENT`; `ERR_READ`; `ERR_ABORTED`
 * @example
 * const corpus = await readCorpus('IEMOCAP_full_release', { labels: 'iemocap-4' });
 * for (const { file, row, reason } of corpus.problems) console.warn(`${file}:${row}: ${reason}`);
 */
export async function readCorpus(path: string, options: ReadCorpusOptions = {}): Promise<Corpus> {
  const { labels, others = 'leave-out', signal, ...where } = parseOptions(optionsSchema, options);
  const file = resolve(path);
  const stats = await unlessAbsent(file, statsOf(file));
  if (stats === undefined) {
    throw new EmoframeError('ERR_FILE_NOT_FOUND', `There is no corpus ${file}: expected ${expected()}.`, { file });
  }
  const audioRoot = where.audioRoot === undefined ? undefined : resolve(where.audioRoot);
  const dataset = where.dataset === undefined ? undefined : datasetNamed(where.dataset);
  const manifests = dataset === undefined ? await findManifests(file, stats) : undefined;
  if (manifests !== undefined) {
    const scheme = labels === undefined ? undefined : parseLabelScheme(labels);
    const corpus = await readManifests(manifests, audioRoot, signal);
    return scheme === undefined ? corpus : applyLabelScheme(corpus, scheme, { others, unlabelled: [], file });
  }
  if (!stats.isDirectory()) {
    throw new EmoframeError('ERR_CORPUS', `${file} is not a known kind of corpus: expected ${expected()}.`, { file });
  }
  const folder = await Folder.list(file, signal);
  const found = dataset ?? (await recogniseDataset(folder));
  if (found === undefined) {
    throw new EmoframeError('ERR_CORPUS', `The folder ${file} is not a known corpus: expected ${expected()}.`, {
      file,
    });
  }
  const scheme = parseLabelScheme(labels ?? Object.keys(found.schemes)[0] ?? 'all', found);
  if (audioRoot !== undefined && !takesAudioRoot(found)) {
    throw new EmoframeError(
      'ERR_ARGUMENT',
      `Expected no audioRoot for ${found.name}, whose folder holds its audio, but received ${quoted(audioRoot)}: give that folder as the corpus.`,
    );
  }
  const corpus = await readDataset(found, { folder, ...given({ audioRoot, signal }) });
  return applyLabelScheme(corpus, scheme, { others, unlabelled: found.unlabelled, file });
}

function expected(): string {
  return `${MANIFEST_LAYOUTS}; or the folder of a dataset: ${DATASET_LAYOUTS}`;
}
