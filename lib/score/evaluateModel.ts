// A model's scores on a corpus that it need not have been trained on: labels are brought together, and what both have is scored.
import { z } from 'zod';
import { rangeOf } from '../audio/range.js';
import { isUnreadable } from '../audio/unreadable.js';
import { emotionOf } from '../corpus/emotions.js';
import type { Corpus, Utterance } from '../corpus/types.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { hasValues } from '../corpus/values.js';
import { EmoframeError } from '../errors.js';
import { cccIntervals, type ValueMetrics, valueMetrics } from '../evaluate/concordance.js';
import { bootstrapInterval } from '../evaluate/metrics.js';
import { given } from '../given.js';
import { abortSignal, byName, callback, parseOptions, type Shape, strictOptions } from '../issues.js';
import type { EmotionModel } from '../predict/emotionModel.js';
import type { Prediction } from '../predict/prediction.js';
import { classesOf, type Intervals, type PredictionRow, type Scores, scoreRows } from '../run/scores.js';
import { ClassView, rowOf } from './classScores.js';
import { type LabelMap, mapDimensions, mapLabels } from './labelMap.js';

/** Of {@link evaluateModel}. */
export interface EvaluateModelOptions {
  /** Labels (or dimensions) of the model and those of the corpus that they stand for, where their names do not say it. */
  map?: Readonly<Record<string, string>>;
  /**
   * Which of the model's outputs compete. `shared` (default): those of emotions that the corpus has, so that its probabilities sum to 1
   * over these; `all`: every one, and an emotion that the corpus does not have is a wrong answer.
   */
  outputs?: 'shared' | 'all';
  /** Nats that a change of emotion must gain where a timeline is smoothed anew over the shared emotions. Default 4. */
  switchingCost?: number;
  /** What becomes of utterances whose audio cannot be read: an error (default), or they are left out and listed. */
  onCorrupt?: 'fail' | 'skip';
  /** Resamples of the intervals, and their seed. Defaults 2000 and 1. */
  bootstrapSamples?: number;
  seed?: number;
  /** Of a classifier: called with what is scored of each utterance. */
  onRow?: (row: PredictionRow) => void | Promise<void>;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/** What was scored, whatever the model gives. */
export interface EvaluationBase {
  /** Utterances that were scored. */
  utterances: number;
  /** Utterances whose audio cannot be read. */
  skipped: readonly UnreadableUtterance[];
}

/** The scores of a classifier. */
export interface ClassEvaluation extends EvaluationBase, Scores {
  task: 'classification';
  /** Classes of `confusion` and `recalls`. */
  labels: readonly string[];
  /** The class of time outside all segments, where the corpus has one. */
  neutral: string | null;
  map: LabelMap;
  intervals: Intervals;
  /** Utterances that were not scored, as the model does not know their label, by label. */
  leftOut: Readonly<Record<string, number>>;
}

/** The scores of a regression. */
export interface ValueEvaluation extends EvaluationBase {
  task: 'regression';
  /** By the corpus's names, with the 95 % interval of the CCC and the model's name of the dimension. */
  dimensions: Readonly<Record<string, ValueMetrics & { interval: [number, number]; output: string }>>;
  /** The mean over dimensions, and its 95 % interval. */
  meanCcc: number;
  meanInterval: [number, number];
}

/** What {@link evaluateModel} finds. */
export type ModelEvaluation = ClassEvaluation | ValueEvaluation;

const optionsSchema = strictOptions({
  map: byName(z.string()).exactOptional(),
  outputs: z.enum(['shared', 'all']).exactOptional(),
  switchingCost: z.number().nonnegative().exactOptional(),
  onCorrupt: z.enum(['fail', 'skip']).exactOptional(),
  bootstrapSamples: z.int().positive().exactOptional(),
  seed: z.int().nonnegative().exactOptional(),
  onRow: callback<NonNullable<EvaluateModelOptions['onRow']>>().exactOptional(),
  onProgress: callback<NonNullable<EvaluateModelOptions['onProgress']>>().exactOptional(),
  signal: abortSignal.exactOptional(),
} satisfies Shape<EvaluateModelOptions>);

/**
 * Scores a model on a corpus. A classifier on labelled utterances: weighted and unweighted accuracy, macro-F1 and the confusion matrix
 * with 95 % intervals and, for utterances whose segments are known, the timeline; labels are brought together by the emotions that they
 * name. A regression on utterances with values: the concordance correlation coefficient (CCC), Pearson's correlation and the RMSE of
 * each dimension that both have.
 *
 * @throws `ERR_CORPUS` when the corpus has no labels or values, or fewer than two labels or no dimension that the model knows;
 * `ERR_ARGUMENT`, `ERR_ABORTED`, and what prediction throws.
 * @example
 * await using model = await EmotionModel.load('superb/hubert-large-superb-er');
 * const scores = await evaluateModel(model, await readCorpus('CREMA-D'));
 * if (scores.task === 'classification') console.log(scores.ua, scores.map);
 */
export async function evaluateModel(
  model: EmotionModel,
  corpus: Corpus,
  options: EvaluateModelOptions = {},
): Promise<ModelEvaluation> {
  const settings = parseOptions(optionsSchema, options);
  return model.task === 'regression' ? scoreValues(model, corpus, settings) : scoreClasses(model, corpus, settings);
}

async function scoreClasses(
  model: EmotionModel,
  corpus: Corpus,
  settings: EvaluateModelOptions,
): Promise<ClassEvaluation> {
  const { outputs = 'shared', switchingCost = 4 } = settings;
  const labelled = corpus.utterances.filter(({ label }) => label !== undefined);
  const corpusLabels = [...new Set(labelled.map(({ label }) => label!))].sort();
  if (corpusLabels.length === 0)
    throw new EmoframeError('ERR_CORPUS', `${corpus.name} has no labelled utterance: there is nothing to score.`);
  // Time outside of segments is neutral, whether or not an utterance is.
  const ofTime = labelled.some(({ segments }) => segments !== undefined) && !corpusLabels.some(isNeutral);
  const map = mapLabels(ofTime ? [...corpusLabels, 'neutral'] : corpusLabels, model.labels, settings.map);
  const view = new ClassView(map, model.labels, outputs === 'all');
  const neutral = Object.keys(map.classes).find(isNeutral);
  const rows: PredictionRow[] = [];
  const scored = labelled.filter(({ label }) => !map.unknownToModel.includes(label!));
  const skipped = await predictEach(model, corpus, scored, settings, async (utterance, prediction) => {
    if (prediction.values !== undefined) return;
    const row = rowOf(withScoredSegments(utterance, view), prediction, view, { neutral, ofTime, switchingCost });
    rows.push(row);
    await settings.onRow?.(row);
  });
  const { truth, predicted } = classesOf(rows, view.labels);
  const interval = (score: 'wa' | 'ua' | 'macroF1') =>
    bootstrapInterval(truth, predicted, view.labels.length, score, resampling(settings));
  return {
    task: 'classification',
    ...scoreRows(rows, view.labels, neutral ?? ''),
    labels: view.labels,
    neutral: neutral ?? null,
    map,
    intervals: { wa: await interval('wa'), ua: await interval('ua'), macroF1: await interval('macroF1') },
    utterances: rows.length,
    leftOut: countLabels(labelled.filter(({ label }) => map.unknownToModel.includes(label!))),
    skipped,
  };
}

async function scoreValues(
  model: EmotionModel,
  corpus: Corpus,
  settings: EvaluateModelOptions,
): Promise<ValueEvaluation> {
  const known = [...new Set(corpus.utterances.flatMap(({ values = {} }) => Object.keys(values)))].sort();
  const dimensions = mapDimensions(known, model.labels, settings.map);
  const names = Object.keys(dimensions);
  if (names.length === 0) {
    throw new EmoframeError(
      'ERR_CORPUS',
      `${corpus.name} has ${known.length === 0 ? 'no values of dimensions' : `values of ${known.join(', ')}`}, and the model gives ${model.labels.join(', ')}: there is nothing to score.`,
    );
  }
  const truth: number[][] = names.map(() => []);
  const predicted: number[][] = names.map(() => []);
  const scored = corpus.utterances.filter((utterance) => hasValues(utterance, names));
  const skipped = await predictEach(model, corpus, scored, settings, (utterance, { values = {} }) => {
    for (const [d, name] of names.entries()) {
      truth[d]!.push(utterance.values![name]!);
      predicted[d]!.push(values[dimensions[name]!]!);
    }
  });
  const intervals = await cccIntervals(truth, predicted, resampling(settings));
  const metrics = names.map((_, d) => valueMetrics(truth[d]!, predicted[d]!));
  return {
    task: 'regression',
    dimensions: Object.fromEntries(
      names.map((name, d) => [name, { ...metrics[d]!, interval: intervals[d]!, output: dimensions[name]! }]),
    ),
    meanCcc: metrics.reduce((sum, { ccc }) => sum + ccc, 0) / metrics.length,
    meanInterval: intervals.at(-1)!,
    utterances: scored.length - skipped.length,
    skipped,
  };
}

function resampling({ bootstrapSamples = 2000, seed = 1 }: EvaluateModelOptions): { samples: number; seed: number } {
  return { samples: bootstrapSamples, seed };
}

/** Predicts utterances in their order; gives those whose audio cannot be read. Errors: `ERR_CORPUS` when that is all of them. */
async function predictEach(
  model: EmotionModel,
  corpus: Corpus,
  utterances: readonly Utterance[],
  { signal, onCorrupt, onProgress }: EvaluateModelOptions,
  use: (utterance: Utterance, prediction: Prediction) => void | Promise<void>,
): Promise<UnreadableUtterance[]> {
  const skipped: UnreadableUtterance[] = [];
  const inputs = utterances.map(({ id, audio, ...range }) => ({ id, audio: { path: audio, ...rangeOf(range) } }));
  let done = 0;
  for await (const prediction of model.predictMany(inputs, { onError: 'yield', ...given({ signal }) })) {
    const utterance = utterances[done]!;
    if ('error' in prediction) {
      const { error } = prediction;
      if (onCorrupt !== 'skip' || !isUnreadable(error)) throw error;
      skipped.push({ id: utterance.id, file: utterance.audio, code: error.code, reason: error.message });
    } else await use(utterance, prediction);
    done++;
    onProgress?.(done, utterances.length);
  }
  if (skipped.length === utterances.length) {
    const why = skipped.length === 0 ? 'no utterance has all of them' : `the first is ${skipped[0]!.file}`;
    throw new EmoframeError('ERR_CORPUS', `No utterance of ${corpus.name} can be scored: ${why}.`);
  }
  return skipped;
}

const isNeutral = (label: string) => emotionOf(label) === 'neutral';

/** Segments of labels that the model does not know leave it open what their frames are: then none are scored. */
function withScoredSegments(utterance: Utterance, view: ClassView): Utterance {
  const { segments, ...rest } = utterance;
  if (segments === undefined || !segments.every(({ label }) => view.labels.includes(label))) return rest;
  return utterance;
}

function countLabels(utterances: readonly Utterance[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { label } of utterances) counts.set(label!, (counts.get(label!) ?? 0) + 1);
  return Object.fromEntries(counts);
}
