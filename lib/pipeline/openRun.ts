// A run that is open: the engine, the audio, the logs, and what each stage is given. Each stage marks its folder when it is
// done, so a run that stopped goes on where it was.

import { resolve } from 'node:path';
import { AudioPool } from '../audio/pool.js';
import { rangeOf } from '../audio/range.js';
import { AudioStore } from '../audio/store.js';
import type { RunConfig } from '../config/types.js';
import { checkFolds } from '../corpus/foldFile.js';
import { type Fold, makeFolds, resolveFolds } from '../corpus/folds.js';
import type { Utterance } from '../corpus/types.js';
import { type AudioCheck, checkAudio, foldsWithout, type UnreadableUtterance, without } from '../corpus/unreadable.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { closeAfter } from '../files/close.js';
import { given } from '../given.js';
import { JsonlLog } from '../log/jsonl.js';
import { binding } from '../model/binding.js';
import { Engine } from '../model/engine.js';
import { quoted } from '../quote.js';
import { deriveSeed } from '../random/philox.js';
import { type Environment, openRunDirectory, type RunDirectory } from '../run/directory.js';
import { chooseLabels, type RunLabels } from '../run/labels.js';
import type { RunSummary } from '../run/scores.js';
import { isDone } from '../run/stageResult.js';
import { type StageName, stagesOf } from '../run/stages.js';
import { writeSummary } from '../run/summary.js';
import type { RegressionSummary } from '../run/valueScores.js';
import type { StageContext, StageReport, UtteranceAudio } from '../stages/context.js';
import { findStage } from '../stages/index.js';
import { removeSteps } from '../training/savedSteps.js';
import { packageVersion } from '../version.js';
import type { StageCallOptions, TrainerOptions } from './options.js';
import { StageLog } from './stageLog.js';

/** The config of the run, as it records it: with what the call, the corpus and the split decide filled in. */
function resolveConfig({ config, corpus, precision, folds }: TrainerOptions): RunConfig {
  const { dataset, labels, others } = config.corpus;
  refuseOther('dataset', dataset, corpus.dataset);
  refuseOther('labels', labels, corpus.labels);
  if (others !== 'leave-out') refuseOther('others', others, corpus.others);
  return {
    ...config,
    precision: precision ?? config.precision,
    folds: folds === undefined ? resolveFolds(corpus, config.folds) : { ...config.folds, scheme: 'given' },
  };
}

/** A run must not record that its corpus was read in a way that it was not. */
function refuseOther(field: string, wanted: string | null, read: string | undefined): void {
  if (wanted === null || wanted === read) return;
  throw new EmoframeError(
    'ERR_CONFIG',
    `The config's corpus.${field} is ${quoted(wanted)}, but the corpus was read with ${read === undefined ? 'none' : quoted(read)}: give readCorpus the same.`,
  );
}

function environmentOf(engine: Engine, options: TrainerOptions): Environment {
  return {
    versions: {
      emoframe: packageVersion(),
      node: process.versions.node,
      cpuLibrary: binding().describe().cpu.library,
    },
    device: engine.device,
    instructions: engine.path,
    threads: options.threads ?? 0,
  };
}

function audioOf(pool: AudioPool, config: RunConfig): UtteranceAudio {
  const store = new AudioStore(pool, { bytes: config.memory.audioBytes });
  return {
    get: (utterance, signal) => store.get(utterance, signal),
    mfcc: (utterance: Utterance, signal) => pool.mfcc(utterance.audio, rangeOf(utterance), signal),
  };
}

/** What a run works on. */
interface RunMaterial {
  chosen: RunLabels;
  folds: readonly Fold[];
  skipped: readonly UnreadableUtterance[];
  sampleCounts: Map<string, number>;
}

/**
 * The corpus, without what cannot be read where that is asked for, and its folds. Then a new run reads all audio first, since
 * the folds depend on it; one that goes on leaves out what it left out when it was begun.
 */
async function gather(
  { corpus, folds: split, signal, onAudioCheck: onProgress }: TrainerOptions,
  config: RunConfig,
  pool: AudioPool,
  recorded: readonly UnreadableUtterance[] | undefined,
): Promise<RunMaterial> {
  const check: AudioCheck =
    recorded === undefined && config.audio.onCorrupt === 'skip'
      ? await checkAudio(corpus, { pool, ...given({ signal, onProgress }) })
      : { unreadable: [...(recorded ?? [])], sampleCounts: new Map() };
  const { unreadable: skipped, sampleCounts } = check;
  const chosen = chooseLabels(without(corpus, skipped), config);
  const folds =
    split === undefined
      ? makeFolds(chosen.corpus, { ...config.folds, dimensions: config.dimensions, seed: config.seed })
      : await checkFolds(chosen.corpus, foldsWithout(split, skipped), {
          ...config.folds,
          dimensions: config.dimensions,
        });
  return { chosen, folds, skipped, sampleCounts };
}

/** A run that is open: what all of its stages share. */
export class OpenRun {
  readonly chosen: RunLabels;
  readonly folds: readonly Fold[];
  /** Utterances that were left out because their audio cannot be read. */
  readonly skipped: readonly UnreadableUtterance[];
  readonly #utterances: ReadonlyMap<string, Utterance>;
  readonly #sampleCounts: Map<string, number>;

  private constructor(
    readonly options: TrainerOptions,
    readonly config: RunConfig,
    material: RunMaterial,
    readonly directory: RunDirectory,
    private readonly engine: Engine,
    private readonly pool: AudioPool,
    private readonly audio: UtteranceAudio,
    private readonly log: JsonlLog,
  ) {
    this.chosen = material.chosen;
    this.folds = material.folds;
    this.skipped = material.skipped;
    this.#sampleCounts = material.sampleCounts;
    this.#utterances = new Map(this.chosen.corpus.utterances.map((utterance) => [utterance.id, utterance]));
  }

  /** Opens the run directory and the engine. */
  static async open(options: TrainerOptions): Promise<OpenRun> {
    const config = resolveConfig(options);
    // Checked before all audio is read.
    chooseLabels(options.corpus, config);
    if (options.modelDir === undefined && config.model === null) {
      throw new EmoframeError(
        'ERR_CONFIG',
        "There is nothing to start from: give a model directory, or a Hugging Face config.json as 'model' in the config to train from scratch.",
      );
    }
    const engine = Engine.create({
      device: options.device ?? 'cpu',
      threads: options.threads ?? 0,
      memoryLimit: options.memoryLimit ?? 0,
    });
    const pool = new AudioPool(options.audioCache === undefined ? {} : { cache: options.audioCache });
    try {
      engine.requirePrecision(config.precision);
      let material: RunMaterial | undefined;
      const model = options.modelDir === undefined ? null : resolve(options.modelDir);
      const prepare = async (skipped: readonly UnreadableUtterance[] | undefined) => {
        material = await gather(options, config, pool, skipped);
        return { config, model, corpus: material.chosen.corpus, folds: material.folds, skipped: material.skipped };
      };
      const directory = await openRunDirectory(options.out, prepare, environmentOf(engine, options));
      try {
        const log = JsonlLog.open(directory.log);
        return new OpenRun(options, config, material!, directory, engine, pool, audioOf(pool, config), log);
      } catch (error) {
        directory.release();
        throw error;
      }
    } catch (error) {
      engine.dispose();
      await pool.close();
      throw error;
    }
  }

  /**
   * Frees everything.
   *
   * @throws EmoframeError `ERR_WRITE` when the log cannot be forced to disk
   */
  async close(): Promise<void> {
    this.engine.dispose();
    try {
      await closeAfter(this.log, () => this.pool.close());
    } finally {
      this.directory.release();
    }
  }

  /** Those of the folds that are named. @throws `ERR_FOLDS` */
  select(names: readonly string[] | undefined): readonly Fold[] {
    if (names?.length === 0) throw new EmoframeError('ERR_FOLDS', 'No fold was named: there is nothing to do.');
    const unknown = names?.find((name) => !this.folds.some((fold) => fold.name === name));
    if (unknown !== undefined) {
      throw new EmoframeError(
        'ERR_FOLDS',
        `There is no fold ${unknown}: this corpus has ${this.folds.map(({ name }) => name).join(', ')}.`,
      );
    }
    return names === undefined ? this.folds : this.folds.filter(({ name }) => names.includes(name));
  }

  /** The stages of this run. */
  get stageNames(): StageName[] {
    const { objective } = this.config.align;
    return stagesOf({ fromScratch: this.options.modelDir === undefined, objective }).map(({ name }) => name);
  }

  /** Runs a stage, unless it is done. */
  async complete(fold: Fold, stage: StageName, call: StageCallOptions): Promise<void> {
    const paths = this.directory.fold(fold.name).stage(stage);
    // A stage that was killed between its mark and this left its training states.
    if (await isDone(paths)) return removeSteps(paths.checkpoint);
    throwIfAborted(call.signal);
    this.directory.keepLock();
    await this.directory.refuseLinks(fold.name, stage);
    const log = this.#stageLog(fold, stage, call);
    await closeAfter(log, () => findStage(stage).run(this.#context(fold, stage, log, call)));
  }

  async requireNeeds(fold: Fold, stage: StageName): Promise<void> {
    const { needs, when } = findStage(stage);
    if (!this.stageNames.includes(stage)) {
      throw new EmoframeError(
        'ERR_STAGE',
        when === 'from scratch'
          ? `Stage ${stage} trains from scratch, but a model directory was given.`
          : `Stage ${stage} is not part of this run, whose align.objective is '${this.config.align.objective}'.`,
      );
    }
    for (const needed of needs.filter((name) => this.stageNames.includes(name))) {
      if (await isDone(this.directory.fold(fold.name).stage(needed))) continue;
      throw new EmoframeError(
        'ERR_STAGE',
        `Stage ${stage} of fold ${fold.name} needs stage ${needed}: run "emoframe ${needed}" on ${this.directory.dir} first, or "emoframe run" for all of them.`,
        { file: this.directory.dir },
      );
    }
  }

  summarize(): Promise<RunSummary | RegressionSummary | undefined> {
    const names = this.folds.map(({ name }) => name);
    return writeSummary(this.directory, names, this.config, this.chosen, this.skipped);
  }

  /** What a stage is given that only shows its progress. */
  context(fold: Fold, stage: StageName, call: StageCallOptions): StageContext {
    return this.#context(fold, stage, this.#stageLog(fold, stage, call), call);
  }

  #stageLog(fold: Fold, stage: StageName, call: StageCallOptions): StageLog {
    const board = this.directory.tensorboard(fold.name, stage);
    return new StageLog({ fold: fold.name, stage }, this.log, board, call, () => this.directory.keepLock());
  }

  #context(fold: Fold, stage: StageName, report: StageReport, { signal }: StageCallOptions): StageContext {
    const { modelDir } = this.options;
    return {
      fold,
      stage,
      seed: deriveSeed(this.config.seed, fold.name, stage),
      config: this.config,
      engine: this.engine,
      ...given({ modelDir, signal }),
      utterances: this.#utterances,
      labels: this.chosen.labels,
      neutral: this.chosen.neutral,
      audio: this.audio,
      sampleCounts: this.#sampleCounts,
      paths: this.directory.fold(fold.name),
      report,
      startedAt: Date.now(),
    };
  }
}
