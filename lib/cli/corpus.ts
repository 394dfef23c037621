import { datasets } from '../corpus/datasets/index.js';
import { type CorpusDescription, describeCorpus } from '../corpus/describe.js';
import { columns, defineCommand } from './command.js';
import { corpusOptions, readGivenCorpus } from './corpusOptions.js';
import { flag } from './options.js';
import { Progress } from './progress.js';

const shownProblems = 20;
const names = datasets.map(({ name }) => name);
/** Some corpora have more than a thousand speakers. */
const shownNames = 40;

export const corpusCommand = defineCommand({
  name: 'corpus',
  summary: 'show the contents of a corpus and its problems',
  arguments: 'DIR|FILE...',
  description:
    'Reads the folder of a known dataset, a manifest (JSONL, CSV) or an HFLEA .scp and counts utterances, labels, speakers,\nsessions and seconds. Every unusable row is listed with its file, line and reason. Several corpora are combined into one, as\nin "emoframe run"; NAME=DIR states the dataset of a folder.\n' +
    `Datasets: ${names.slice(0, 9).join(', ')},\n${names.slice(9).join(', ')}.`,
  options: { ...corpusOptions, decode: flag('decode all audio, which also finds damage inside files') },
  examples: [
    'emoframe corpus IEMOCAP_full_release',
    'emoframe corpus IEMOCAP_full_release --labels ang,hap=hap+exc,neu,sad,fru',
    'emoframe corpus data.csv --decode --json',
    'emoframe corpus IEMOCAP esd-english=ESD --test ZED',
  ],
  run: async (
    positionals,
    { json, decode, dataset, labels, others, test, 'audio-root': audioRoot },
    { print, printJson, note, signal },
  ) => {
    const progress = new Progress();
    const onProgress = (done: number, total: number) => progress.update({ title: 'reading audio', done, total });
    const corpus = await readGivenCorpus(positionals, { dataset, labels, others, audioRoot, test }, signal);
    const description = await describeCorpus(corpus, { signal, decode, onProgress });
    progress.finish();
    if (json) {
      const { dataset, utterances, labels, speakers, sessions, seconds, problems, ...more } = description;
      await printJson({ dataset, utterances, labels, speakers, sessions, seconds, problems, ...more });
      return;
    }
    await print(table(description));
    for (const { file, row, reason } of description.problems.slice(0, shownProblems)) {
      note(`${file}${row === undefined ? '' : `:${row}`}: ${reason}`);
    }
    const more = description.problems.length - shownProblems;
    if (more > 0) note(`… and ${more} more problems; use --json to list them all.`);
  },
});

function table(description: CorpusDescription): string[] {
  const { dataset, utterances, seconds, labels, speakers, sessions, unlabelled, problems } = description;
  const { scheme, leftOut, folds, values } = description;
  const rated = Object.entries(values).map(([name, { utterances, mean, deviation }]): [string, string] => [
    name,
    `${String(utterances).padStart(7)}  ${mean.toFixed(3)} ± ${deviation.toFixed(3)}`,
  ]);
  const counts = (title: string, counted: Record<string, number>) => {
    const entries = Object.entries(counted).map(([name, count]): [string, string] => [
      name,
      `${String(count).padStart(7)}  ${((100 * count) / utterances).toFixed(1).padStart(5)} %`,
    ]);
    const more =
      entries.length > shownNames ? [`  … and ${entries.length - shownNames} more; use --json to list them all`] : [];
    return entries.length === 0 ? [] : ['', title, ...columns(entries.slice(0, shownNames)), ...more];
  };
  const out = Object.entries(leftOut).map(([name, count]) => `${name} ${count}`);
  return [
    ...columns([
      ['corpus', dataset],
      ['utterances', String(utterances)],
      [
        'speech',
        `${(seconds / 60).toFixed(1)} min (${(seconds / Math.max(utterances, 1)).toFixed(2)} s per utterance)`,
      ],
      ['speakers', String(Object.keys(speakers).length)],
      ['sessions', String(Object.keys(sessions).length)],
      ...(scheme === undefined ? [] : [['label scheme', scheme] satisfies [string, string]]),
      ...(out.length === 0 ? [] : [['left out', out.join(', ')] satisfies [string, string]]),
      ['folds', folds],
      ['problems', String(problems.length)],
    ]),
    ...counts('Labels', unlabelled > 0 ? { ...labels, '(none)': unlabelled } : labels),
    ...(rated.length === 0 ? [] : ['', 'Values: utterances, mean and standard deviation', ...columns(rated)]),
    ...counts('Sessions', sessions),
    ...counts('Speakers', speakers),
  ];
}
