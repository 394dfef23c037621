// The last stage of a run, in a run directory; or, without one, the scores of any model on any corpus.

import { given } from '../given.js';
import { largestOf } from '../lists.js';
import { EmotionModel } from '../predict/emotionModel.js';
import { oneLine } from '../quote.js';
import { writeRows } from '../run/format.js';
import type { PredictionRow } from '../run/scores.js';
import {
  type ClassEvaluation,
  evaluateModel,
  type ModelEvaluation,
  type ValueEvaluation,
} from '../score/evaluateModel.js';
import { type CommandContext, columns, defineCommand } from './command.js';
import { readGivenCorpus } from './corpusOptions.js';
import { findModel, headOption } from './model.js';
import { audioCacheOf, choice, text, UsageError, type Values } from './options.js';
import { Progress } from './progress.js';
import { runDirectoryOptions } from './runOptions.js';
import { runStage } from './runStage.js';

const options = {
  ...runDirectoryOptions,
  ...headOption,
  out: text('DIR', 'the run directory, for the last stage of a run (default: score --model on the whole corpus)'),
  map: text(
    'MODEL=CORPUS,...',
    'labels of the model and the labels of the corpus that they stand for, where the names do not say it',
  ),
  outputs: choice(['shared', 'all'], "let the model's other emotions be predicted too, and be wrong (default: shared)"),
  predictions: text('FILE', 'write the prediction of each utterance as a line of JSON'),
};

export const evaluateCommand = defineCommand({
  name: 'evaluate',
  summary: 'score a model on a corpus; with --out, the last stage of a run',
  arguments: 'CORPUS...',
  description:
    'Scores any model on any labelled corpus: WA, UA, macro-F1 and the confusion matrix, and, where the corpus says when an emotion\noccurs, the timeline. Labels are brought together by the emotions that they name, in several languages, and the mapping is\nprinted. A model of dimensions is scored by CCC on utterances with values. With --out DIR, runs stage 5 in that run directory instead.',
  options,
  examples: [
    'emoframe evaluate CREMA-D --model superb/hubert-large-superb-er',
    'emoframe evaluate ZED --model runs/iemocap/folds/s5/predictor --json',
    'emoframe evaluate calls.csv --model OWNER/NAME --map joy=satisfied,anger=upset',
    'emoframe evaluate iemocap.jsonl --model hubert-base-ls960 --out runs/iemocap',
  ],
  run: async (positionals, values, context) => {
    const { out, model, head, map, outputs, predictions, ...rest } = values;
    if (out !== undefined) {
      const foreign = Object.entries({ head, map, outputs, predictions }).find(([, value]) => value !== undefined);
      if (foreign !== undefined) throw new UsageError(`Expected no --${foreign[0]} with --out.`);
      await runStage('evaluate', positionals, { ...rest, out, model }, context);
      return;
    }
    if (model === undefined) throw new UsageError('Expected --model, or --out for the last stage of a run.');
    await scoreModel(positionals, { ...values, model }, context);
  },
});

const ofRuns = ['config', 'preset', 'split', 'folds', 'test'] as const;

async function scoreModel(
  corpora: readonly string[],
  values: Values<typeof options> & { model: string; json: boolean },
  context: CommandContext,
): Promise<void> {
  const { signal, note, print, printJson } = context;
  const foreign = ofRuns.find((name) => values[name] !== undefined) ?? (values.resume ? 'resume' : undefined);
  if (foreign !== undefined)
    throw new UsageError(`Expected --out with --${foreign}, which is for the last stage of a run.`);
  const map = values.map === undefined ? undefined : readMap(values.map);
  const { dataset, labels, others, 'audio-root': audioRoot } = values;
  const corpus = await readGivenCorpus(corpora, { dataset, labels, others, audioRoot, test: undefined }, signal);
  const progress = new Progress();
  const { head, device, precision, threads } = values;
  await using emotions = await EmotionModel.load(await findModel(values, context, progress), {
    clusters: false,
    ...given({ head, device, precision, threads, memoryLimit: values['memory-limit'] }),
    ...audioCacheOf(values),
  });
  const rows: PredictionRow[] = [];
  const evaluation = await evaluateModel(emotions, corpus, {
    signal,
    ...given({ map, outputs: values.outputs, onCorrupt: values['on-corrupt'] }),
    ...(values.predictions !== undefined && { onRow: (row) => void rows.push(row) }),
    onProgress: (done, total) => progress.update({ title: 'evaluate', done, total }),
  }).finally(() => progress.finish());
  if (values.predictions !== undefined) await writeRows(values.predictions, rows);
  for (const { file, reason } of evaluation.skipped) note(`${file} is left out: ${reason}`);
  if (values.json) await printJson(evaluation);
  else await print(describe(evaluation));
}

/** `anger=ang,joy=hap` */
function readMap(written: string): Record<string, string> {
  return Object.fromEntries(
    written.split(',').map((pair) => {
      const [model = '', corpus = '', ...rest] = pair.split('=').map((word) => word.trim());
      if (model === '' || corpus === '' || rest.length > 0)
        throw new UsageError(`Expected pairs such as anger=ang for --map but received ${pair}.`);
      return [model, corpus];
    }),
  );
}

function describe(evaluation: ModelEvaluation): string[] {
  return evaluation.task === 'regression' ? describeValues(evaluation) : describeClasses(evaluation);
}

function describeValues({ dimensions, meanCcc, meanInterval, utterances }: ValueEvaluation): string[] {
  const within = ([low, high]: [number, number]) => `(${low.toFixed(3)} – ${high.toFixed(3)})`;
  return columns([
    ['utterances', String(utterances)],
    ...Object.entries(dimensions).map(([name, { ccc, pearson, rmse, interval, output }]): [string, string] => [
      name,
      `CCC ${ccc.toFixed(3)} ${within(interval)}  Pearson ${pearson.toFixed(3)}  RMSE ${rmse.toFixed(3)}${output === name ? '' : `  (the model's ${output})`}`,
    ]),
    ['mean', `CCC ${meanCcc.toFixed(3)} ${within(meanInterval)}`],
  ]);
}

function describeClasses(evaluation: ClassEvaluation): string[] {
  const { map, labels, confusion, leftOut, utterances, intervals } = evaluation;
  const percent = (value: number) => (100 * value).toFixed(1);
  const within = ([low, high]: [number, number]) => `  (${percent(low)} – ${percent(high)})`;
  const out = Object.entries(leftOut).map(([label, count]) => `${label} ${count}`);
  const scores: [string, string][] = [
    ['utterances', String(utterances)],
    ...(out.length === 0
      ? []
      : [['left out', `${out.join(', ')}: the model has no such label`] satisfies [string, string]]),
    ...(map.unknownToCorpus.length === 0
      ? []
      : [['not in the corpus', map.unknownToCorpus.join(', ')] satisfies [string, string]]),
    ['WA', `${percent(evaluation.wa)} %${within(intervals.wa)}`],
    ['UA', `${percent(evaluation.ua)} %${within(intervals.ua)}`],
    ['macro-F1', `${percent(evaluation.macroF1)} %${within(intervals.macroF1)}`],
    ...frameScores(evaluation),
  ];
  return [
    'Labels of the corpus, and what they are called by the model',
    ...columns(Object.entries(map.classes).map(([label, names]) => [label, names.join(' + ')])),
    '',
    ...columns(scores),
    '',
    'Confusion: true labels down, predicted ones across',
    ...matrix(labels.map(oneLine), confusion),
  ];
}

function frameScores({ frameAccuracy, frameUa, eder, meanEder, lift }: ClassEvaluation): [string, string][] {
  const shares: [string, number | null][] = [
    ['frame accuracy', frameAccuracy],
    ['frame UA', frameUa],
    ['EDER (less is better)', eder],
    ['EDER, mean of utterances', meanEder],
  ];
  const written = shares.flatMap(([name, value]): [string, string][] =>
    value === null ? [] : [[name, `${(100 * value).toFixed(1)} %`]],
  );
  return lift === null ? written : [...written, ['lift over share of time', `${lift.toFixed(2)} ×`]];
}

function matrix(labels: readonly string[], counts: readonly (readonly number[])[]): string[] {
  const width = Math.max(
    largestOf(labels.map(({ length }) => length)),
    largestOf(counts.flat().map((count) => String(count).length)),
  );
  const row = (name: string, cells: readonly (string | number)[]) =>
    `  ${name.padEnd(width)}  ${cells.map((cell) => String(cell).padStart(width)).join('  ')}`;
  return [row('', labels), ...labels.map((label, at) => row(label, counts[at]!))];
}
