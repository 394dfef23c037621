// A prediction as a few lines.
import { largestOf } from '../lists.js';
import type { Prediction } from '../predict/prediction.js';
import { oneLine } from '../quote.js';

const columnsShown = 60;
const levels = [...'▁▂▃▄▅▆▇█'];

/** The emotion with a bar of it over time and its segments, or the values with a curve of each. */
export function describePrediction(prediction: Prediction, labels: readonly string[]): string[] {
  const { seconds, windows } = prediction;
  const length = `${seconds.toFixed(2)} s${windows === null ? '' : `, in windows of ${windows.seconds} s`}`;
  return prediction.values === undefined
    ? describeEmotion(prediction, labels, length)
    : describeValues(prediction, labels, length);
}

/** A bar with a letter for each slice of time, and the segments. */
function describeEmotion(
  { id, label, probabilities, seconds, segments }: Prediction<'classification'>,
  labels: readonly string[],
  length: string,
): string[] {
  const letters = initials(labels);
  const bar = Array.from({ length: columnsShown }, (_, column) => {
    const time = ((column + 0.5) / columnsShown) * seconds;
    const segment = segments.find(({ end }) => time < end) ?? segments.at(-1)!;
    return letters.get(segment.label)!;
  }).join('');
  const ranked = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  return [
    `${id}  ${label}  (${ranked.map(([name, p]) => `${name} ${p.toFixed(2)}`).join(', ')})`,
    `  |${bar}|  ${length}`,
    ...segments.map(
      (segment) =>
        `  ${segment.start.toFixed(2).padStart(7)} – ${segment.end.toFixed(2).padStart(7)} s  ${letters.get(segment.label)} ${segment.label}  ${segment.confidence.toFixed(2)}`,
    ),
  ];
}

/** Of each dimension a curve of its frames, from their lowest value to their highest. */
function describeValues(
  { id, values, columns }: Prediction<'regression'>,
  labels: readonly string[],
  length: string,
): string[] {
  const names = labels.map(oneLine);
  const nameWidth = largestOf(names.map((name) => name.length));
  return [
    `${id}  ${labels.map((label) => `${label} ${values[label]!.toFixed(2)}`).join(', ')}  (${length})`,
    ...labels.map((_, c) => {
      const curve = columns.values.filter((_, i) => i % labels.length === c);
      const lowest = curve.reduce((a, b) => Math.min(a, b));
      const highest = curve.reduce((a, b) => Math.max(a, b));
      return `  ${names[c]!.padEnd(nameWidth)}  |${drawn(curve, lowest, highest)}|  ${lowest.toFixed(2)} – ${highest.toFixed(2)}`;
    }),
  ];
}

/** The mean of each slice of time, as a bar of one character. */
function drawn(curve: Float32Array, lowest: number, highest: number): string {
  return Array.from({ length: columnsShown }, (_, column) => {
    const first = Math.floor((column * curve.length) / columnsShown);
    const slice = curve.subarray(first, Math.max(Math.floor(((column + 1) * curve.length) / columnsShown), first + 1));
    const mean = slice.reduce((sum, value) => sum + value, 0) / slice.length;
    const share = highest > lowest ? (mean - lowest) / (highest - lowest) : 0.5;
    return levels[Math.min(Math.floor(share * levels.length), levels.length - 1)]!;
  }).join('');
}

/** What takes two columns of a terminal. */
const wide = /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}]/u;

/** A distinct letter for each label, its first one if that is free. */
function initials(labels: readonly string[]): Map<string, string> {
  const taken = new Map<string, string>();
  for (const label of labels) {
    const used = new Set(taken.values());
    const own = [...label.toUpperCase()].filter((letter) => /\p{L}/u.test(letter) && !wide.test(letter));
    const candidates = [...own, ...'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'];
    taken.set(label, candidates.find((letter) => !used.has(letter)) ?? '?');
  }
  return taken;
}
