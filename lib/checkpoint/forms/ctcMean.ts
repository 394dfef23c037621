// A class for speech recognition (ForCTC) that was trained as a classifier: the mean over frames of what its linear layer gives. Its
// files are those of a recogniser, so that it is read as one only when that is asked for.
import { join } from 'node:path';
import { fileExists } from '../../files/read.js';
import { readModelJson } from '../failures.js';
import type { HeadReader, PublicForm } from './form.js';
import { checkedLabels, labelsOf } from './labels.js';

const vocabularyFile = 'vocab.json';

/** `id2label` where it has as many names as there are outputs, else the words of the vocabulary. */
async function labelsFor(reader: HeadReader, outputs: number): Promise<string[]> {
  const named = labelsOf(reader.source.config);
  if (named?.length === outputs) return checkedLabels(reader, named, outputs, 'config.json');
  const file = join(reader.source.directory, vocabularyFile);
  const words = (await fileExists(file)) ? labelsOf({ label2id: await readModelJson(file) }) : undefined;
  if (words !== undefined) return checkedLabels(reader, words, outputs, vocabularyFile);
  throw reader.refuse(
    `nothing names its ${outputs} outputs: give ${outputs} names as id2label in config.json, or as ${vocabularyFile} beside it`,
  );
}

export const ctcMean: PublicForm = {
  form: 'ctc-mean',
  title: 'a head of speech recognition (lm_head)',
  owns: (name) => /^lm_head\.(?:weight|bias)$/.test(name),
  async read(reader) {
    const outputs = reader.rows('lm_head.weight');
    await reader.linear('lm_head', 'classifier', outputs, reader.source.shape.hiddenSize);
    return { labels: await labelsFor(reader, outputs), pooling: 'mean' };
  },
};
