import { type CorpusSource, readCorpora } from '../corpus/combine.js';
import { datasets } from '../corpus/datasets/index.js';
import { OTHERS, type Others } from '../corpus/labelScheme.js';
import { readCorpus } from '../corpus/read.js';
import type { Corpus } from '../corpus/types.js';
import { given } from '../given.js';
import { choice, text, UsageError } from './options.js';

const named = choice(
  datasets.map(({ name }) => name),
  '',
);

/** Options of everything that reads a corpus. */
export const corpusOptions = {
  dataset: {
    ...named,
    placeholder: 'NAME',
    help: 'the dataset of a folder, e.g. iemocap (default: recognised by its layout)',
  },
  labels: text('SCHEME', "a scheme of the dataset (iemocap-4), 'all', or classes: ang,hap=hap+exc,neu,sad"),
  others: choice(OTHERS, 'what to do with utterances that have other labels (default: leave-out)'),
  'audio-root': text('DIR', 'where to look for audio (default: in the folder of the corpus)'),
  test: text('CORPUS', 'test on this corpus and train on all others (default: test on parts of the corpus in turn)'),
};

/** The values of those options, or of a config where they are not given. */
export interface GivenCorpus {
  dataset: string | undefined;
  labels: string | undefined;
  others: Others | undefined;
  audioRoot: string | undefined;
  test: string | undefined;
}

/** Reads one corpus, or several as one. @throws UsageError */
export async function readGivenCorpus(
  paths: readonly string[],
  { dataset, labels, others, audioRoot, test }: GivenCorpus,
  signal: AbortSignal,
): Promise<Corpus> {
  const [path] = paths;
  if (path === undefined) throw new UsageError('Expected at least one corpus.');
  const one = sourceOf(path);
  if (paths.length === 1 && test === undefined) {
    return readCorpus(one.path, { ...given({ dataset: dataset ?? one.dataset, labels, others, audioRoot }), signal });
  }
  if (dataset !== undefined)
    throw new UsageError(
      `Expected no --dataset for several corpora: write ${dataset}=DIR for the corpus that it describes.`,
    );
  if (audioRoot !== undefined)
    throw new UsageError(
      'Expected no --audio-root for several corpora: the audio of each is looked for in its own folder.',
    );
  const options = { labels, others, test: test === undefined ? undefined : sourceOf(test) };
  return readCorpora(paths.map(sourceOf), { ...given(options), signal });
}

/** `NAME=DIR` states the dataset of a folder. */
function sourceOf(written: string): CorpusSource {
  const at = written.indexOf('=');
  const dataset = datasets.find(({ name }) => name === written.slice(0, Math.max(at, 0)));
  return dataset === undefined ? { path: written } : { path: written.slice(at + 1), dataset: dataset.name };
}
