import { join } from 'node:path';
import { type PresetName, presets } from '../config/presets.js';
import { parseConfig, readConfig } from '../config/read.js';
import { readFolds } from '../corpus/foldFile.js';
import { given } from '../given.js';
import type { ProgressEvent, RunWarning, StageCallOptions, TrainerOptions } from '../pipeline/options.js';
import { Trainer } from '../pipeline/trainer.js';
import type { CommandContext } from './command.js';
import { corpusOptions, readGivenCorpus } from './corpusOptions.js';
import { findModel, revisionOption } from './model.js';
import {
  audioCacheOf,
  cacheOptions,
  choice,
  corruptOption,
  deviceOptions,
  flag,
  required,
  text,
  UsageError,
  type Values,
} from './options.js';
import type { Progress } from './progress.js';

/** Options of every command that works in a run directory. */
export const runDirectoryOptions = {
  out: required(text('DIR', 'the run directory')),
  model: text(
    'MODEL',
    'pretrained HuBERT, wav2vec 2.0, WavLM or emotion2vec: a transformers directory, a fairseq or torchaudio checkpoint, or OWNER/NAME on the Hub (default: train from scratch, with the model of the config)',
  ),
  ...revisionOption,
  config: text('FILE', 'JSON file of settings that differ from the preset'),
  preset: choice(Object.keys(presets) as PresetName[], 'base settings (default: paper)'),
  ...corpusOptions,
  split: text('FILE', "the split to use, such as another run's folds.json (default: made as the config says)"),
  folds: text('NAME,...', 'only these folds (default: all)'),
  'on-corrupt': corruptOption,
  ...cacheOptions,
  ...deviceOptions,
  resume: flag('continue the run in --out'),
};

/** Reads the corpus and the config of a run or a stage. */
export async function readRunOptions(
  positionals: readonly string[],
  values: Values<typeof runDirectoryOptions>,
  context: CommandContext,
  progress: Progress,
): Promise<{ trainer: TrainerOptions; call: StageCallOptions }> {
  const { signal, note } = context;
  const { model, revision } = values;
  if (model === undefined && revision !== undefined) {
    throw new UsageError('Expected --model with --revision, which selects a version of a model on the Hub.');
  }
  const preset = values.preset ?? 'paper';
  const read = values.config === undefined ? parseConfig({}, preset) : await readConfig(values.config, preset);
  const { dataset = read.corpus.dataset, labels = read.corpus.labels, others = read.corpus.others } = values;
  const onCorrupt = values['on-corrupt'] ?? read.audio.onCorrupt;
  const config = { ...read, corpus: { dataset, labels, others }, audio: { ...read.audio, onCorrupt } };
  const folds = values.split === undefined ? undefined : await readFolds(values.split);
  const { test, 'audio-root': audioRoot } = values;
  if (test !== undefined && config.folds.scheme !== 'customary' && config.folds.scheme !== 'given') {
    throw new UsageError(
      `Expected folds.scheme customary or given with --test, but ${values.config} has ${config.folds.scheme}.`,
    );
  }
  const asked = { dataset: dataset ?? undefined, labels: labels ?? undefined, others, audioRoot, test };
  const corpus = await readGivenCorpus(positionals, asked, signal);
  if (corpus.problems.length > 0) {
    const paths = [...positionals, ...(test === undefined ? [] : ['--test', test])].join(' ');
    note(`${corpus.problems.length} rows of ${paths} cannot be used; run emoframe corpus ${paths} to list them.`);
  }
  if (folds === undefined && config.folds.scheme === 'customary' && corpus.customary?.allowSharedSpeakers) {
    note(`In the split of ${corpus.dataset}, some speakers are in both training and test.`);
  }
  const modelDir = model === undefined ? undefined : await findModel({ model, revision }, context, progress);
  return {
    trainer: {
      corpus,
      out: values.out,
      config,
      signal,
      onAudioCheck: (done, total) => progress.update({ title: 'reading all audio', done, total }),
      device: values.device ?? 'cpu',
      precision: values.precision ?? config.precision,
      threads: values.threads ?? 0,
      memoryLimit: values['memory-limit'] ?? 0,
      resume: values.resume,
      ...given({ modelDir, folds }),
      ...audioCacheOf(values),
    },
    call: {
      ...given({ folds: values.folds?.split(',') }),
      signal,
      onProgress: (event) => showStage(progress, event),
      onWarning: (warning) => showWarning(progress, note, warning),
    },
  };
}

/** Opens the run, and reports how many utterances it skips. */
export async function openTrainer(
  options: TrainerOptions,
  { note }: CommandContext,
  progress: Progress,
): Promise<Trainer> {
  const trainer = await Trainer.open(options).finally(() => progress.finish());
  const count = trainer.skipped.length;
  if (count > 0) {
    note(
      `${count} of ${options.corpus.utterances.length} utterances cannot be read and are skipped; see ${join(options.out, 'skipped.json')}.`,
    );
  }
  return trainer;
}

/** One event of the pipeline as a progress line. */
export function showStage(progress: Progress, { fold, stage, done, total, message, metrics }: ProgressEvent): void {
  progress.update({ title: `${fold} · ${stage}`, done, total, ...given({ message, metrics }) });
}

/** A warning of the pipeline on its own line. */
export function showWarning(
  progress: Progress,
  note: CommandContext['note'],
  { fold, stage, message }: RunWarning,
): void {
  progress.finish();
  note(`${fold} · ${stage}: warning: ${message}`);
}
