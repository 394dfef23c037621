// A model's predictions in the classes of a corpus: probabilities and timelines over the labels that both have.

import { rangeOf } from '../audio/range.js';
import type { Utterance } from '../corpus/types.js';
import { diarizationErrors } from '../evaluate/eder.js';
import { frameTruth } from '../evaluate/frames.js';
import { type FrameTimes, toSegments } from '../evaluate/segments.js';
import { smooth } from '../evaluate/viterbi.js';
import { largestOf } from '../lists.js';
import type { Prediction } from '../predict/prediction.js';
import type { PredictionRow } from '../run/scores.js';
import type { LabelMap } from './labelMap.js';

/** The model's outputs, added up to the classes that are scored. */
export class ClassView {
  /** The classes that are scored, then, where they count, the model's other labels. */
  readonly labels: readonly string[];
  /** For each of the model's labels the index of its class; -1: it is left out. */
  readonly #classOf: Int32Array;

  /** @param others whether labels that the corpus does not have may be predicted, and are then wrong. */
  constructor(
    map: LabelMap,
    readonly modelLabels: readonly string[],
    others: boolean,
  ) {
    const classes = Object.keys(map.classes);
    this.labels = others ? [...classes, ...map.unknownToCorpus.map((label) => othersName(label, classes))] : classes;
    this.#classOf = Int32Array.from(modelLabels, (label) => {
      const at = classes.findIndex((name) => map.classes[name]!.includes(label));
      return at >= 0 || !others ? at : classes.length + map.unknownToCorpus.indexOf(label);
    });
  }

  /**
   * Probabilities `[rows, model's labels]` to `[rows, labels]`, which sum to 1 again.
   *
   * @param without a class that has no part in them
   */
  probabilities(values: ArrayLike<number>, without?: string): Float32Array {
    const left = without === undefined ? -1 : this.labels.indexOf(without);
    const [from, to] = [this.modelLabels.length, this.labels.length];
    const rows = values.length / from;
    const out = new Float32Array(rows * to);
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let label = 0; label < from; label++) {
        const at = this.#classOf[label]!;
        if (at < 0 || at === left) continue;
        out[row * to + at]! += values[row * from + label]!;
        sum += values[row * from + label]!;
      }
      // All of the probability may be on labels that are left out.
      for (let at = 0; at < to; at++) {
        if (at !== left) out[row * to + at] = sum > 0 ? out[row * to + at]! / sum : 1 / (left < 0 ? to : to - 1);
      }
    }
    return out;
  }

  /**
   * The class of each frame: that of the model's own timeline, and where this has a label that is left out, of the smoothed
   * posteriors `[frames, labels]`.
   */
  path(
    { segments }: Pick<Prediction, 'segments'>,
    posteriors: Float32Array,
    times: FrameTimes,
    switchingCost: number,
  ): Int32Array {
    const path = smooth(posteriors, this.labels.length, switchingCost);
    let segment = 0;
    for (let frame = 0; frame < path.length; frame++) {
      const center = times.frameCenterSeconds(frame);
      while (segment + 1 < segments.length && center >= segments[segment]!.end) segment++;
      const at = this.#classOf[this.modelLabels.indexOf(segments[segment]!.label)]!;
      if (at >= 0) path[frame] = at;
    }
    return path;
  }
}

/** A label of the model that is a class of the corpus too, but was given to another of its labels. */
function othersName(label: string, classes: readonly string[]): string {
  return classes.includes(label) ? `${label} (model)` : label;
}

/**
 * What is scored of one utterance. `neutral`: undefined where there is no such class, and frames are not scored; `ofTime`: it is a class of
 * time alone, which no utterance has.
 */
export function rowOf(
  utterance: Utterance,
  prediction: Prediction<'classification'>,
  view: ClassView,
  { neutral, ofTime, switchingCost }: { neutral: string | undefined; ofTime: boolean; switchingCost: number },
): PredictionRow {
  const labels = [...view.labels];
  const probabilities = view.probabilities(
    view.modelLabels.map((label) => prediction.probabilities[label]!),
    ofTime ? neutral : undefined,
  );
  const { id, seconds, frameSeconds } = prediction;
  const row = {
    id,
    audio: utterance.audio,
    ...rangeOf(utterance),
    label: utterance.label!,
    predicted: labels[probabilities.indexOf(largestOf(probabilities))]!,
    probabilities: [...probabilities],
    seconds,
    frameSeconds,
    labels,
  };
  // Without truth, frames are not scored, and are many.
  if (utterance.segments === undefined || neutral === undefined)
    return { ...row, posteriors: [], attention: [], path: [] };
  const first = prediction.frames[0]!.time;
  const times = { frameSeconds, frameCenterSeconds: (frame: number) => first + frame * frameSeconds };
  const posteriors = view.probabilities(prediction.columns.posteriors);
  const path = view.path(prediction, posteriors, times, switchingCost);
  const frames = path.length;
  return {
    ...row,
    posteriors: Array.from({ length: frames }, (_, frame) => [
      ...posteriors.subarray(frame * labels.length, (frame + 1) * labels.length),
    ]),
    attention: [...prediction.columns.attention],
    path: [...path],
    truth: [...frameTruth(utterance, labels, neutral, frames, times)],
    errorSeconds: diarizationErrors(
      utterance.segments,
      toSegments(path, posteriors, labels, times, seconds),
      neutral,
      seconds,
    ),
  };
}
