import { readdir } from 'node:fs/promises';
import { z } from 'zod';
import { onAbort, unlessAborted } from '../abort.js';
import type { Fold } from '../corpus/folds.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { unlessAbsent } from '../files/read.js';
import { parseOptions, strictOptions } from '../issues.js';
import type { RunSummary } from '../run/scores.js';
import { predictingStage, type StageName } from '../run/stages.js';
import type { RegressionSummary } from '../run/valueScores.js';
import { type SweepRow, sweepClusters } from '../stages/cluster.js';
import { OpenRun } from './openRun.js';
import { type StageCallOptions, stageCallSchema, type TrainerOptions, trainerSchema } from './options.js';
import { buildPredictor } from './predictor.js';

/** What {@link Trainer.sweep} compares. */
export interface ClusterSweep {
  /** Hidden states to cluster: 0 (the transformer's input) to the number of layers. */
  readonly layers: readonly number[];
  /** Numbers of clusters. */
  readonly clusters: readonly number[];
}

/** What a sweep found on one fold. */
export interface SweepResult {
  readonly fold: string;
  readonly rows: readonly SweepRow[];
}

const integers = z.array(z.number().int().nonnegative()).min(1);
const sweepSchema = strictOptions({ layers: integers, clusters: integers });

/**
 * The method on a corpus, stage by stage or all at once, over one run directory. Each stage works on every fold, or on those
 * that are named, reads what the stages before left in the run directory, and leaves its own there; so stages can also be
 * run by different processes. Calls are queued: one runs at a time.
 *
 * @example
 * await using trainer = await Trainer.open({
 *   corpus: await readCorpus('corpus.jsonl'),
 *   modelDir: 'hubert-base-ls960',
 *   out: 'runs/a',
 *   config: parseConfig({ folds: { scheme: 'speaker' } }),
 *   resume: true,
 * });
 * const summary = await trainer.run({ onProgress: ({ stage, done, total }) => console.log(stage, done, total) });
 * const model = await EmotionModel.load(trainer.predictorDir('s5'));
 */
export class Trainer {
  readonly #run: OpenRun;
  readonly #resume: boolean;
  /** Stages of folds that this trainer has begun, which it may go on with. */
  readonly #begun = new Set<string>();
  readonly #stop = new AbortController();
  #queue: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;
  /** Of the last call. */
  #failed = false;

  private constructor(run: OpenRun, resume: boolean) {
    this.#run = run;
    this.#resume = resume;
  }

  /**
   * Begins a run directory, or opens one that was begun with the same corpus, config and model. With
   * `audio.onCorrupt` = `skip` a new run first reads all audio, and leaves out what cannot be read ({@link skipped}).
   *
   * @throws `ERR_RUN_EXISTS` (the folder holds something else), `ERR_RUN_IN_USE` (another trainer, of this process or another,
   * has it open: it is let go by {@link dispose}, and when its process ends), `ERR_RUN_MISMATCH` (it was begun with something else),
   * `ERR_CORPUS`, `ERR_FOLDS`, `ERR_CONFIG`, `ERR_DEVICE`, `ERR_WRITE`, `ERR_ABORTED`.
   */
  static async open(options: TrainerOptions): Promise<Trainer> {
    const settings = parseOptions(trainerSchema, options);
    return new Trainer(await OpenRun.open(settings), settings.resume === true);
  }

  /** The folds of the run, each with its test session. */
  get folds(): readonly Fold[] {
    return this.#run.folds;
  }

  /** The classes, or the dimensions of a regression, in the order of the outputs. */
  get labels(): readonly string[] {
    return this.#run.chosen.labels;
  }

  /** Utterances that the run leaves out because their audio cannot be read. */
  get skipped(): readonly UnreadableUtterance[] {
    return this.#run.skipped;
  }

  /** The stages of the run, in order; `mfcc` only from scratch. */
  get stages(): readonly StageName[] {
    return this.#run.stageNames;
  }

  /** Where a fold's predictor is once stage 4 is done: what `EmotionModel.load` takes. @throws `ERR_FOLDS` */
  predictorDir(fold: string): string {
    this.#run.select([fold]);
    return this.#run.directory.fold(fold).predictor;
  }

  /** First round from scratch: masked prediction of MFCC clusters. @throws as {@link run} */
  async mfcc(options: StageCallOptions = {}): Promise<void> {
    await this.#stage('mfcc', options);
  }

  /** Stage 1a: task-adaptive pretraining. @throws as {@link run} */
  async tapt(options: StageCallOptions = {}): Promise<void> {
    await this.#stage('tapt', options);
  }

  /** Stage 1b: fine-tuning on utterance labels. @throws as {@link run} */
  async finetune(options: StageCallOptions = {}): Promise<void> {
    await this.#stage('finetune', options);
  }

  /** Stage 2: frame-level pseudo-labels by k-means. @throws as {@link run} */
  async cluster(options: StageCallOptions = {}): Promise<void> {
    await this.#stage('cluster', options);
  }

  /** Stage 3: pretraining on the pseudo-labels. @throws as {@link run} */
  async pretrain(options: StageCallOptions = {}): Promise<void> {
    await this.#stage('pretrain', options);
  }

  /** Stage 4: fine-tuning with attention; where no alignment network follows, it also puts the predictor together. @throws as {@link run} */
  async align(options: StageCallOptions = {}): Promise<void> {
    await this.#stage('align', options);
  }

  /** Stage 4, second part: the alignment network; it also puts the predictor together. @throws as {@link run} */
  async timeline(options: StageCallOptions = {}): Promise<void> {
    await this.#stage('timeline', options);
  }

  /**
   * Stage 5: scores on the held-out sessions.
   *
   * @returns what `summary.json` holds: the scores over all folds that are evaluated.
   * @throws as {@link run}
   */
  async evaluate(options: StageCallOptions = {}): Promise<RunSummary | RegressionSummary> {
    // A fold is evaluated, so there is a summary.
    return (await this.#stage('evaluate', options))!;
  }

  /**
   * The whole method: every stage of every fold that is not done, then the summary over all folds.
   *
   * @returns what `summary.json` holds: scores of classes or, of a run with `dimensions`, of values.
   * @throws `ERR_RUN_EXISTS` when a stage was begun before this trainer was opened and `resume` is off; `ERR_STAGE` when a
   * stage needs another first; `ERR_FOLDS`, `ERR_ABORTED`, `ERR_DISPOSED`, and what stages throw.
   * @example
   * const summary = await trainer.run({ signal });
   * if ('ua' in summary) console.log(summary.ua, summary.baseline.ua);
   * else console.log(summary.ccc, summary.values);
   */
  run(options: StageCallOptions = {}): Promise<RunSummary | RegressionSummary> {
    return this.#queued(options, async (call) => {
      const folds = this.#run.select(call.folds);
      for (const fold of folds) for (const stage of this.stages) await this.#refuseBegun(fold, stage);
      let summary: RunSummary | RegressionSummary | undefined;
      for (const fold of folds) {
        for (const stage of this.stages) await this.#complete(fold, stage, call);
        summary = await this.#run.summarize();
      }
      // There is a fold, and its last stage is evaluation.
      return summary!;
    });
  }

  /**
   * Clusters stage 1b's hidden states at each layer with each number of clusters, without touching the run's own clusters:
   * to choose `cluster.layer` and `cluster.kmeans.clusters` by inertia and, where frame-level truth is known, purity and NMI.
   *
   * @throws `ERR_STAGE` when stage 1b is not done; otherwise as {@link run}
   * @example
   * const [{ rows }] = await trainer.sweep({ layers: [6, 9, 12], clusters: [20, 50, 100] }, { folds: ['s1'] });
   */
  async sweep(sweep: ClusterSweep, options: StageCallOptions = {}): Promise<SweepResult[]> {
    parseOptions(sweepSchema, sweep);
    return this.#queued(options, async (call) => {
      const results: SweepResult[] = [];
      for (const fold of this.#run.select(call.folds)) {
        await this.#run.requireNeeds(fold, 'cluster');
        const context = this.#run.context(fold, 'cluster', call);
        results.push({ fold: fold.name, rows: await sweepClusters(context, sweep) });
      }
      return results;
    });
  }

  /**
   * Stops the call in hand between two steps, as its signal would, and frees everything. May be called again.
   *
   * @throws `ERR_WRITE` when the log cannot be forced to disk; not after a call that failed: `await using` would put that in the
   * place of the error which came first, and perhaps brought it about.
   */
  async dispose(): Promise<void> {
    this.#stop.abort();
    this.#closing ??= this.#queue
      .then(() => this.#run.close())
      .catch((error: unknown) => {
        if (!this.#failed) throw error;
      });
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #stage(stage: StageName, options: StageCallOptions): Promise<RunSummary | RegressionSummary | undefined> {
    return this.#queued(options, async (call) => {
      for (const fold of this.#run.select(call.folds)) {
        await this.#run.requireNeeds(fold, stage);
        await this.#refuseBegun(fold, stage);
        await this.#complete(fold, stage, call);
      }
      return this.#run.summarize();
    });
  }

  async #complete(fold: Fold, stage: StageName, call: StageCallOptions): Promise<void> {
    this.#begun.add(`${fold.name}/${stage}`);
    await this.#run.complete(fold, stage, call);
    if (stage === predictingStage(this.#run.config.align.objective))
      await buildPredictor(this.#run.directory.fold(fold.name), stage);
  }

  /** Going on with what somebody else began must be asked for. */
  async #refuseBegun(fold: Fold, stage: StageName): Promise<void> {
    if (this.#resume || this.#begun.has(`${fold.name}/${stage}`)) return;
    const { dir } = this.#run.directory.fold(fold.name).stage(stage);
    const entries = await unlessAbsent(dir, readdir(dir));
    if (entries === undefined || entries.length === 0) return;
    throw new EmoframeError(
      'ERR_RUN_EXISTS',
      `Stage ${stage} of fold ${fold.name} was already started in ${this.#run.directory.dir}: continue it with --resume (resume: true), or choose another folder.`,
      { file: dir },
    );
  }

  /** One call after another, each stopped by its own signal and by `dispose`: at once while it waits. */
  async #queued<Result>(options: StageCallOptions, work: (call: StageCallOptions) => Promise<Result>): Promise<Result> {
    const { signal } = parseOptions(stageCallSchema, options);
    const check = (): void => {
      if (this.#stop.signal.aborted)
        throw new EmoframeError('ERR_DISPOSED', 'The trainer was disposed of: open the run again to go on.');
      throwIfAborted(signal);
    };
    check();
    const stop = new AbortController();
    const sources = signal === undefined ? [this.#stop.signal] : [this.#stop.signal, signal];
    const forget = sources.map((source) => onAbort(source, () => stop.abort(signal?.reason)));
    const before = this.#queue;
    const turn = before.then(() => {
      check();
      return work({ ...options, signal: stop.signal });
    });
    this.#queue = turn.then(
      () => {
        this.#failed = false;
      },
      () => {
        this.#failed = true;
      },
    );
    try {
      await unlessAborted(before, stop.signal).catch(check);
      return await turn;
    } finally {
      for (const take of forget) take();
    }
  }
}
