// The loop that both kinds of training share: prepare, update, log, save, stop. An update is a pure function of
// (weights, moments, seed, step), so a training state of those continues a run bit for bit.

import { EmoframeError, throwIfAborted } from '../errors.js';
import type { Model } from '../model/model.js';
import { type StageName, stageNamed } from '../run/stages.js';
import { openLatestStep, saveStep } from '../training/savedSteps.js';
import type { Metrics, StageContext } from './context.js';
import { withMemoryAdvice } from './memoryPlan.js';
import { TrainingSpeed } from './trainingSpeed.js';
import { takesTwoRounds, trainOn, type Update, type UpdateResult } from './update.js';
import type { WeightAverage } from './weightAverage.js';

export interface TrainingLoop<State> {
  context: StageContext;
  model: Model;
  updates: number;
  /** What the stage remembers from update to update beside weights and moments; kept in the training state. */
  state: State;
  /** A mean of weights that {@link epoch} makes; kept in the training state. */
  average?: WeightAverage;
  /** Reads an update's data; runs ahead of the updates before it. */
  prepare(step: number): Promise<Update>;
  /** What is logged of an update. */
  metricsOf(result: UpdateResult): Metrics;
  /** What is done after every so many updates; may change weights and the state. `step` counts from 1. */
  epoch?: { updates: number; end(step: number): Promise<void> };
  /** Before a training state is saved: writes the files that the state refers to. */
  beforeSave?(): Promise<void>;
}

/**
 * Runs from the latest training state, or from the start, to the end. When the signal fires, what the engine has been given is
 * finished, a training state written, and `ERR_ABORTED` thrown.
 *
 * @returns the metrics of the last update; none where all were done before.
 */
export async function runTrainingLoop<State extends Record<string, unknown>>(
  loop: TrainingLoop<State>,
): Promise<Metrics> {
  const { context, model, updates } = loop;
  const { checkpoint } = context.paths.stage(context.stage);
  let step = 0;
  const saved = await openLatestStep(checkpoint, context.report.warn);
  if (saved !== undefined) {
    try {
      await model.importTensors(saved.tensors);
      await model.importMoments(saved.moments);
      const { averaged, ...state } = saved.state;
      if (saved.average !== undefined) await loop.average?.restore(saved.average, Number(averaged));
      Object.assign(loop.state, state);
    } finally {
      await saved.close();
    }
    step = saved.step;
  }
  await context.report.continueFrom(step);
  const save = async () => {
    await loop.beforeSave?.();
    // Rows up to here are not logged again after a resume, so they must be as safe as the training state.
    await context.report.sync();
    const [tensors, moments] = [model.storedTensors(), await model.storedMoments()];
    const { average, state } = loop;
    const averaged = average && average.count > 0 && { average: average.storedTensors() };
    await saveStep(checkpoint, {
      step,
      tensors,
      moments,
      ...averaged,
      state: averaged ? { ...state, averaged: average.count } : state,
    });
  };
  let savedStep = step;
  let savedTime = Date.now();
  const everyMilliseconds = context.config.checkpoint.everySeconds * 1000;

  const ends = (step: number) => loop.epoch !== undefined && step % loop.epoch.updates === 0;
  const due = (step: number) =>
    step - savedStep >= context.config.checkpoint.everyUpdates || Date.now() - savedTime >= everyMilliseconds;
  let failed = false;
  // A GPU is given the next update while it computes this one, unless weights are read or changed in between.
  const most = context.engine.device === 'cpu' ? 1 : 2;
  const restsAfter = (step: number) =>
    step === updates || ends(step) || due(step) || failed || context.signal?.aborted === true;

  const prepared: Promise<Update>[] = [];
  const queued: { data: Update; update: Promise<UpdateResult> }[] = [];
  const timer = new TrainingSpeed(model, context.engine.peakFlops(model.spec.precision));
  let metrics: Metrics = {};
  let speed: Metrics = {};
  const prepareNext = () => {
    const next = step + queued.length + prepared.length;
    if (next >= updates) return;
    const data = loop.prepare(next);
    data.catch(() => undefined); // a failure is met when its turn comes
    prepared.push(data);
  };
  const queueNext = async () => {
    const data = await prepared[0]!;
    if (failed) return;
    prepared.shift();
    const update = trainOn(model, data);
    update.catch(() => {
      failed = true;
    });
    queued.push({ data, update });
    prepareNext();
  };
  const finishFirst = async () => {
    const { data, update } = queued[0]!;
    metrics = loop.metricsOf(await update);
    queued.shift();
    step++;
    timer.add(data);
    if (step % context.config.logEvery === 0 || step === updates) {
      speed = timer.take();
      context.report.log(step, updates, { ...metrics, ...speed });
    }
    context.report.progress(step, updates, undefined, { ...metrics, ...speed });
  };
  try {
    prepareNext();
    while (step < updates) {
      if (queued.length === 0) {
        throwIfAborted(context.signal);
        await queueNext();
      }
      // The second round of an update may be queued behind nothing but its first.
      const alone = () => queued.some(({ data }) => takesTwoRounds(data));
      while (queued.length < most && !restsAfter(step + queued.length) && !alone()) await queueNext();
      await finishFirst().catch((error: unknown) => {
        throw withMemoryAdvice(stoppedBy(error, context.stage, step, savedStep), context);
      });
      if (queued.length > 0) continue;
      if (ends(step)) await timer.without(() => loop.epoch!.end(step));
      if (due(step) && step < updates) {
        await timer.without(save);
        savedStep = step;
        savedTime = Date.now();
      }
    }
  } catch (error) {
    await Promise.allSettled(prepared);
    try {
      while (queued.length > 0) await finishFirst();
    } catch {
      // It failed by the same error, or by one that it brought about.
    }
    if (error instanceof EmoframeError && error.code === 'ERR_ABORTED' && step > savedStep) await save();
    throw error;
  }
  await reportGraphs(context);
  return metrics;
}

/** Reports how steps were done on a GPU. A driver that refuses graphs is worth a warning, not an error. */
async function reportGraphs({ engine, report }: StageContext): Promise<void> {
  const { replayed, made, plain, reason } = await engine.graphs();
  if (reason !== undefined)
    report.warn(
      `The driver refused a CUDA graph, so steps are launched operation by operation from then on: ${reason}`,
    );
  const all = replayed + made + plain;
  if (all > 0) report.progress(0, 0, `${replayed} of ${all} steps were replayed as CUDA graphs`);
}

/** A loss or gradient that is not finite would come again after a resume, as updates are exact: names the update and a remedy. */
function stoppedBy(error: unknown, stage: StageName, step: number, savedStep: number): unknown {
  if (!(error instanceof EmoframeError) || error.code !== 'ERR_NOT_FINITE') return error;
  const saved = savedStep > 0 ? `The training state of update ${savedStep} is intact. ` : '';
  return new EmoframeError(
    error.code,
    `Update ${step + 1} of ${stage}: ${error.message} ${saved}Resuming would fail in the same way: start a new run with a lower ${stageNamed(stage).settings}.optimizer.learningRate, or with precision fp32.`,
    { cause: error },
  );
}
