import { isUnreadable } from '../audio/unreadable.js';
import { given } from '../given.js';
import { EmotionModel } from '../predict/emotionModel.js';
import type { PredictManyOptions } from '../predict/options.js';
import { audioFiles, listOption, nameAudio, splitChannels } from './audioFiles.js';
import { defineCommand } from './command.js';
import { describeMemory } from './memory.js';
import { headOption, hubModelOptions, revisionOption } from './model.js';
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
  UsageError,
  windowOptions,
} from './options.js';
import { describePrediction } from './predictionText.js';
import { Progress, showAudio } from './progress.js';
import { describeSkipped, SkippedAudio } from './skipped.js';

export const predictCommand = defineCommand({
  name: 'predict',
  summary: 'predict the emotion and frame-level timeline of audio',
  arguments: 'AUDIO|FOLDER...',
  description:
    'Predicts the emotion of each file and when it occurs. JSON has the segments and every frame: time, posterior, attention\nweight and cluster; json is one array, jsonl one line per file. Of a model that gives values, such as arousal, the file and\nevery frame have these instead, and there are no segments. Audio longer than a window is processed in overlapping windows.\nFor a folder, all WAV, FLAC, MP3 and Ogg files in and below it are processed. emoframe models lists public models.',
  options: {
    model: required(
      text('MODEL', 'the predictor of a run, OUT/folds/FOLD/predictor, a public model, or its OWNER/NAME on the Hub'),
    ),
    ...revisionOption,
    ...headOption,
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
    'emoframe predict speech.wav --model superb/hubert-large-superb-er',
    'emoframe predict speech.wav --model runs/demo/folds/s5/predictor',
    'emoframe predict recordings --model predictor --format jsonl > timelines.jsonl',
    'emoframe predict calls --model predictor --channels split --on-corrupt skip --format jsonl > calls.jsonl',
    'find . -name "*.flac" | emoframe predict --list - --model predictor --format jsonl',
  ],
  run: async (positionals, values, context) => {
    const { print, printJson, note, signal } = context;
    const { json, device, precision, threads } = values;
    const files = await audioFiles(positionals, values.list);
    const format = values.format ?? (json ? 'json' : 'text');
    const progress = new Progress();
    await using emotions = await EmotionModel.load(values.model, {
      ...hubModelOptions(values, context, progress),
      // Text does not show clusters.
      clusters: !values['no-clusters'] && format !== 'text',
      ...given({ head: values.head, device, precision, threads, memoryLimit: values['memory-limit'] }),
      ...audioCacheOf(values),
    }).finally(() => progress.finish());
    if (emotions.task === 'regression' && values['switching-cost'] !== undefined) {
      throw new UsageError(`Expected no --switching-cost with ${values.model}, which gives values and no emotions.`);
    }
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
      if (format === 'json') {
        await print(done === 0 ? '[' : ',');
        await printJson(prediction);
      } else if (format === 'jsonl') await printJson(prediction, 0);
      else
        await print(
          'error' in prediction ? describeSkipped(prediction) : describePrediction(prediction, emotions.labels),
        );
      done++;
      if (files.length > 1 && !quiet) progress.update({ title: 'predict', done, total: Math.max(files.length, done) });
    }
    progress.finish();
    if (format === 'json') await print(']');
    skipped.report(done, note);
  },
});
