import { EmotionModel } from '../predict/emotionModel.js';
import type { Prediction } from '../predict/prediction.js';
import { defineCommand } from './command.js';
import {
  choice,
  deviceOptions,
  flag,
  given,
  nonNegativeNumber,
  required,
  text,
  UsageError,
  windowOptions,
} from './options.js';
import { Progress, showAudio } from './progress.js';

export const predictCommand = defineCommand({
  name: 'predict',
  summary: 'utterance emotion and frame-level timeline of audio',
  arguments: 'AUDIO...',
  description:
    'Tells the emotion of each file and when it is heard. JSON holds, beside the segments, every frame: time, posterior,\nattention weight and cluster; json is one array, jsonl one line a file. Audio longer than a window is heard through\noverlapping windows.',
  options: {
    model: required(text('DIR', 'the predictor of a run: OUT/folds/FOLD/predictor')),
    format: choice(['text', 'json', 'jsonl'], 'default: text'),
    'switching-cost': nonNegativeNumber('nats that a change of emotion must gain; 0: no smoothing'),
    'no-clusters': flag('leave out the clusters of frames, which cost a second pass'),
    ...windowOptions,
    ...deviceOptions,
  },
  examples: [
    'emoframe predict speech.wav --model runs/demo/folds/s5/predictor',
    'emoframe predict *.wav --model predictor --format jsonl > timelines.jsonl',
  ],
  run: async (files, values, { print, signal }) => {
    const { model, json, device, precision, threads } = values;
    if (files.length === 0) throw new UsageError('Expected at least one audio file.');
    const format = values.format ?? (json ? 'json' : 'text');
    await using emotions = await EmotionModel.load(model, {
      // Text does not show clusters.
      clusters: !values['no-clusters'] && format !== 'text',
      ...given({ device, precision, threads }),
    });
    const progress = new Progress();
    const all: Prediction[] = [];
    let done = 0;
    // On a terminal the results themselves show how far it is.
    const quiet = format !== 'json' && process.stdout.isTTY;
    const predictions = emotions.predictMany(files, {
      signal,
      ...given({
        switchingCost: values['switching-cost'],
        windowSeconds: values['window-seconds'],
        overlapSeconds: values['overlap-seconds'],
      }),
      onProgress: (event) => showAudio(progress, 'predict', event),
    });
    for await (const prediction of predictions) {
      if (format === 'json') all.push(prediction);
      else if (format === 'jsonl') print(JSON.stringify(prediction));
      else print(describe(prediction, emotions.labels));
      if (files.length > 1 && !quiet) progress.update({ title: 'predict', done: ++done, total: files.length });
    }
    progress.finish();
    if (format === 'json') print(JSON.stringify(all, null, 2));
  },
});

const barColumns = 60;

/** A few lines: the emotion, a bar with a letter for each stretch of time, and the segments. */
function describe(
  { id, label, probabilities, seconds, segments, windows }: Prediction,
  labels: readonly string[],
): string {
  const letters = initials(labels);
  const bar = Array.from({ length: barColumns }, (_, column) => {
    const time = ((column + 0.5) / barColumns) * seconds;
    const segment = segments.find(({ end }) => time < end) ?? segments.at(-1)!;
    return letters.get(segment.label)!;
  }).join('');
  const ranked = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  return [
    `${id}  ${label}  (${ranked.map(([name, p]) => `${name} ${p.toFixed(2)}`).join(', ')})`,
    `  |${bar}|  ${seconds.toFixed(2)} s${windows === null ? '' : `, in windows of ${windows.seconds} s`}`,
    ...segments.map(
      (segment) =>
        `  ${segment.start.toFixed(2).padStart(7)} – ${segment.end.toFixed(2).padStart(7)} s  ${letters.get(segment.label)} ${segment.label}  ${segment.confidence.toFixed(2)}`,
    ),
  ].join('\n');
}

/** A letter of each label's own, its first one where that is free. */
function initials(labels: readonly string[]): Map<string, string> {
  const taken = new Map<string, string>();
  for (const label of labels) {
    const used = new Set(taken.values());
    const candidates = [...label.toUpperCase(), ...'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'];
    taken.set(label, candidates.find((letter) => !used.has(letter)) ?? '?');
  }
  return taken;
}
