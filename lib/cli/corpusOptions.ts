import { datasets } from '../corpus/datasets/index.js';
import { OTHERS } from '../corpus/labelScheme.js';
import { choice, text } from './options.js';

const named = choice(
  datasets.map(({ name }) => name),
  '',
);

/** Options of everything that reads a corpus. */
export const corpusOptions = {
  dataset: { ...named, placeholder: 'NAME', help: 'the dataset that a folder is, e.g. iemocap (default: recognised)' },
  labels: text('SCHEME', "a scheme of the dataset (iemocap-4), 'all', or classes: ang,hap=hap+exc,neu,sad"),
  others: choice(OTHERS, 'what becomes of utterances of other labels (default: leave-out)'),
  'audio-root': text('DIR', 'where audio is looked for (default: in the folder of the corpus)'),
};
