import { isUnreadable } from '../audio/unreadable.js';
import { given } from '../given.js';
import { EmotionModel } from '../predict/emotionModel.js';
import type { PredictManyOptions } from '../predict/options.js';
import type { Prediction } from '../predict/prediction.js';
import { audioFiles, listOption, nameAudio, splitChannels } from './audioFiles.js';
import { defineCommand } from './command.js';
import { describeMemory } from './memory.js';
import { findModel, revisionOption } from './model.js';
import {
  audioCacheOf,
  cacheOptions,
  choice,
  corruptOption,
  deviceOptions,
  flag,
  nonNegativeNumber,
  required,
  text,
  windowOptions,
} from './options.js';
import { Progress, showAudio } from './progress.js';
import { describeSkipped, SkippedAudio } from './skipped.js';

export const predictCommand = defineCommand({
  name: 'predict',
  summary: 'predict the emotion and frame-level timeline of audio',
  arguments: 'AUDIO|FOLDER...',
  description:
    'Predicts the emotion of each file and when it occurs. JSON has the segments and every frame: time, posterior, attention\nweight and cluster; json is one array, jsonl one line per file. Audio longer than a window is processed in overlapping\nwindows. For a folder, all WAV, FLAC, MP3 and Ogg files in and below it are processed.',
  options: {
    model: required(text('MODEL', 'the predictor of a run, OUT/folds/FOLD/predictor, or OWNER/NAME on the Hub')),
    ...revisionOption,
    format: choice(['text', 'json', 'jsonl'], 'output format (default: text)'),
    'switching-cost': nonNegativeNumber(
      'cost of a change of emotion in nats; 0: no smoothing (with an alignment network: only for audio in windows)',
    ),
    level: choice(
      ['as-is', 'match'],
      'input level of an alignment network: unchanged, or scaled to that of the training audio (default: as-is)',
    ),
    channels: choice(['mix', 'split'], 'average the channels, or predict each one separately (default: mix)'),
    'on-corrupt': corruptOption,
    'no-clusters': flag('leave out the clusters of frames, which need a second pass'),
    list: listOption,
    ...windowOptions,
    ...cacheOptions,
    ...deviceOptions,
  },
  examples: [
    'emoframe predict speech.wav --model runs/demo/folds/s5/predictor',
    'emoframe predict recordings --model predictor --format jsonl > timelines.jsonl',
    'emoframe predict calls --model predictor --channels split --on-corrupt skip --format jsonl > calls.jsonl',
    'find . -name "*.flac" | emoframe predict --list - --model predictor --format jsonl',
  ],
  run: async (positionals, values, context) => {
    const { print, note, signal } = context;
    const { json, device, precision, threads } = values;
    const files = await audioFiles(positionals, values.list);
    const format = values.format ?? (json ? 'json' : 'text');
    const progress = new Progress();
    const model = await findModel(values, context, progress);
    await using emotions = await EmotionModel.load(model, {
      // Text does not show clusters.
      clusters: !values['no-clusters'] && format !== 'text',
      ...given({ device, precision, threads, memoryLimit: values['memory-limit'] }),
      ...audioCacheOf(values),
    });
    // On a terminal the results themselves show the progress.
    const quiet = format !== 'json' && process.stdout.isTTY;
    const windows = given({ windowSeconds: values['window-seconds'], overlapSeconds: values['overlap-seconds'] });
    // As for a list: results do not depend on how the files were found.
    const { batchSeconds } = emotions;
    if (emotions.device !== 'cpu' || values['memory-limit'] !== undefined)
      note(describeMemory(await emotions.plan({ ...windows, batchSeconds }), emotions.device));
    const named = nameAudio(files);
    const predictions = emotions.predictMany(values.channels === 'split' ? splitChannels(named) : named, {
      signal,
      batchSeconds,
      onError: values['on-corrupt'] === 'skip' ? 'yield' : 'throw',
      ...windows,
      ...given({ switchingCost: values['switching-cost'], level: values.level }),
      onProgress: (event) => showAudio(progress, 'predict', event),
    } satisfies PredictManyOptions);
    let done = 0;
    const skipped = new SkippedAudio();
    for await (const result of predictions) {
      // Only an error of a single audio may be skipped.
      if ('error' in result && !isUnreadable(result.error)) throw result.error;
      const prediction = 'error' in result ? skipped.add(result.id, result.error) : result;
      // The array is written element by element, so that memory does not grow.
      if (format === 'json') await print(`${done === 0 ? '[' : ','}\n${JSON.stringify(prediction, null, 2)}`);
      else if (format === 'jsonl') await print(JSON.stringify(prediction));
      else await print('error' in prediction ? describeSkipped(prediction) : describe(prediction, emotions.labels));
      done++;
      if (files.length > 1 && !quiet) progress.update({ title: 'predict', done, total: Math.max(files.length, done) });
    }
    progress.finish();
    if (format === 'json') await print(']');
    skipped.report(done, note);
  },
});

const barColumns = 60;

/** A few lines: the emotion, a bar with a letter for each slice of time, and the segments. */
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

/** A distinct letter for each label, its first one if that is free. */
function initials(labels: readonly string[]): Map<string, string> {
  const taken = new Map<string, string>();
  for (const label of labels) {
    const used = new Set(taken.values());
    const candidates = [...label.toUpperCase(), ...'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'];
    taken.set(label, candidates.find((letter) => !used.has(letter)) ?? '?');
  }
  return taken;
}
