// A model's scores on a corpus that it need not have been trained on: labels are brought together, and what both have is scored.
import { z } from 'zod';
import { rangeOf } from '../audio/range.js';
import { isUnreadable } from '../audio/unreadable.js';
import { emotionOf } from '../corpus/emotions.js';
import type { Corpus, Utterance } from '../corpus/types.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { EmoframeError } from '../errors.js';
import { bootstrapInterval } from '../evaluate/metrics.js';
import { given } from '../given.js';
import { abortSignal, callback, parseOptions, type Shape, strictOptions } from '../issues.js';
import type { EmotionModel } from '../predict/emotionModel.js';
import { classesOf, type Intervals, type PredictionRow, type Scores, scoreRows } from '../run/scores.js';
import { ClassView, rowOf } from './classScores.js';
import { type LabelMap, mapLabels } from './labelMap.js';

/** Of {@link evaluateModel}. */
export interface EvaluateModelOptions {
  /** Labels of the model and the labels of the corpus that they stand for, where the table of emotions does not say it. */
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
  /** Called with what is scored of each utterance. */
  onRow?: (row: PredictionRow) => void | Promise<void>;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/** What {@link evaluateModel} finds. */
export interface ModelEvaluation extends Scores {
  /** Classes of `confusion` and `recalls`. */
  labels: readonly string[];
  /** The class of time outside all segments, where the corpus has one. */
  neutral: string | null;
  map: LabelMap;
  intervals: Intervals;
  /** Utterances that were scored. */
  utterances: number;
  /** Utterances that were not, as the model does not know their label, by label. */
  leftOut: Readonly<Record<string, number>>;
  /** Utterances whose audio cannot be read. */
  skipped: readonly UnreadableUtterance[];
}

const optionsSchema = strictOptions({
  map: z.record(z.string(), z.string()).exactOptional(),
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
 * Scores a model on a labelled corpus: weighted and unweighted accuracy, macro-F1 and the confusion matrix with 95 % intervals and,
 * for utterances whose segments are known, the timeline. Labels are brought together by the emotions that they name.
 *
 * @throws `ERR_CORPUS` when the corpus has no labels, or fewer than two that the model knows; `ERR_HEAD` for a model whose outputs are
 * no classes; `ERR_ARGUMENT`, `ERR_ABORTED`, and what prediction throws.
 * @example
 * await using model = await EmotionModel.load('superb/hubert-large-superb-er');
 * const { wa, ua, map } = await evaluateModel(model, await readCorpus('CREMA-D'));
 */
export async function evaluateModel(
  model: EmotionModel,
  corpus: Corpus,
  options: EvaluateModelOptions = {},
): Promise<ModelEvaluation> {
  const settings = parseOptions(optionsSchema, options);
  const { outputs = 'shared', switchingCost = 4, bootstrapSamples = 2000, seed = 1, signal } = settings;
  const labelled = corpus.utterances.filter(({ label }) => label !== undefined);
  const corpusLabels = [...new Set(labelled.map(({ label }) => label!))].sort();
  if (corpusLabels.length === 0)
    throw new EmoframeError('ERR_CORPUS', `${corpus.name} has no labelled utterance: there is nothing to score.`);
  const map = mapLabels(corpusLabels, model.labels, settings.map);
  const view = new ClassView(map, model.labels, outputs === 'all');
  const scored = labelled.filter(({ label }) => !map.unknownToModel.includes(label!));
  const neutral = Object.keys(map.classes).find((label) => emotionOf(label) === 'neutral');
  const rows: PredictionRow[] = [];
  const skipped: UnreadableUtterance[] = [];
  const inputs = scored.map(({ id, audio, ...range }) => ({ id, audio: { path: audio, ...rangeOf(range) } }));
  const predictions = model.predictMany(inputs, { onError: 'yield', ...given({ signal }) });
  let done = 0;
  for await (const prediction of predictions) {
    const utterance = scored[done]!;
    if ('error' in prediction) {
      const { error } = prediction;
      if (settings.onCorrupt !== 'skip' || !isUnreadable(error)) throw error;
      skipped.push({ id: utterance.id, file: utterance.audio, code: error.code, reason: error.message });
    } else {
      const row = rowOf(withScoredSegments(utterance, view), prediction, view, { neutral, switchingCost });
      rows.push(row);
      await settings.onRow?.(row);
    }
    done++;
    settings.onProgress?.(done, scored.length);
  }
  if (rows.length === 0)
    throw new EmoframeError('ERR_CORPUS', `No audio of ${corpus.name} can be read: the first is ${skipped[0]!.file}.`);
  const { truth, predicted } = classesOf(rows, view.labels);
  const interval = (score: 'wa' | 'ua' | 'macroF1') =>
    bootstrapInterval(truth, predicted, view.labels.length, score, { samples: bootstrapSamples, seed });
  return {
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
