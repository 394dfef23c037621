// The runs of one corpus and seed: what all objectives share is computed once, in a run of its own; each objective has a copy
// of it that differs in nothing but the objective, and goes on from there. What is finished is not run again.

import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseConfig } from '../../dist/config/read.js';
import { readCorpus } from '../../dist/corpus/read.js';
import { makeDemoCorpus } from '../../dist/demo/corpus.js';
import { Trainer } from '../../dist/pipeline/trainer.js';
import { RunPaths } from '../../dist/run/paths.js';
import { alignmentStages, stagesOf } from '../../dist/run/stages.js';
import { makePromptsCorpus } from '../corpora/prompts.js';

export const OBJECTIVES = ['attention', 'forward-backward', 'both'];
export const CORPORA = { demo: makeDemoCorpus, prompts: makePromptsCorpus };
/** The session whose voices are not in training, as in the demo. */
export const FOLD = 's5';

const SHARED_STAGES = stagesOf({ fromScratch: true, objective: OBJECTIVES[0] })
  .map(({ name }) => name)
  .filter((name) => name !== 'evaluate');
/** What a run directory says of itself; `config.json` is written last. */
const RECORDS = ['corpus.json', 'folds.json', 'skipped.json'];

const configOf = (seed, objective) => parseConfig({ seed, align: { objective } }, 'demo');

/** Opens the run `name` for as long as `work` takes. */
async function inRun(place, name, { corpus, config, threads }, work) {
  const trainer = await Trainer.open({ corpus, out: join(place, name), config, threads, resume: true });
  try {
    await work(trainer);
  } finally {
    await trainer.dispose();
  }
}

/** Speaks the corpus and runs the stages before alignment. */
async function shareStages(place, maker, seed, threads, onProgress) {
  const { manifest } = await maker(join(place, 'corpus'), { seed, threads });
  const corpus = await readCorpus(manifest);
  const shared = new RunPaths(join(place, 'shared')).fold(FOLD);
  if (existsSync(shared.stage('align').done)) return corpus;
  await inRun(place, 'shared', { corpus, config: configOf(seed, OBJECTIVES[0]), threads }, async (trainer) => {
    for (const stage of SHARED_STAGES) await trainer[stage]({ folds: [FOLD], onProgress });
  });
  return corpus;
}

/** The parts of stage 4 that an objective has, and that it does not share. */
const ownStages = (objective) => alignmentStages(objective).filter((stage) => !SHARED_STAGES.includes(stage));
const sharedBy = (objective) =>
  SHARED_STAGES.filter((stage) => stage !== 'align' || alignmentStages(objective).includes(stage));

/** A run of `objective` that has come as far as the shared one. */
async function branch(place, objective, seed) {
  const [from, to] = [join(place, 'shared'), join(place, objective)];
  if (existsSync(join(to, 'config.json'))) return;
  const part = `${to}.part`;
  await rm(part, { recursive: true, force: true });
  await mkdir(part, { recursive: true });
  for (const stage of sharedBy(objective)) {
    const dir = new RunPaths('').fold(FOLD).stage(stage).dir;
    await cp(join(from, dir), join(part, dir), { recursive: true });
  }
  for (const name of RECORDS) await cp(join(from, name), join(part, name));
  const record = JSON.parse(await readFile(join(from, 'config.json'), 'utf8'));
  const { align } = configOf(seed, objective);
  const content = { ...record, config: { ...record.config, align } };
  await writeFile(join(part, 'config.json'), `${JSON.stringify(content, undefined, 2)}\n`);
  await rename(part, to);
}

/**
 * Runs what is not done of one corpus and seed.
 *
 * @param {string} place for its corpus and runs: `corpus`, `shared`, and one by the name of each objective
 * @param {{ maker: typeof makeDemoCorpus, seed: number, objectives: string[], threads: number }} what
 * @param {(event: import('../../dist/pipeline/options.js').ProgressEvent) => void} onProgress
 */
export async function runCells(place, { maker, seed, objectives, threads }, onProgress) {
  const missing = objectives.filter(
    (objective) => !existsSync(new RunPaths(join(place, objective)).fold(FOLD).stage('evaluate').done),
  );
  if (missing.length === 0) return;
  const corpus = await shareStages(place, maker, seed, threads, onProgress);
  for (const objective of missing) {
    await branch(place, objective, seed);
    await inRun(place, objective, { corpus, config: configOf(seed, objective), threads }, async (trainer) => {
      for (const stage of ownStages(objective)) await trainer[stage]({ folds: [FOLD], onProgress });
      await trainer.evaluate({ folds: [FOLD], onProgress });
    });
  }
}

/** Where a finished objective has its rows, and how long its stages took. */
export async function readCell(place, objective) {
  const paths = new RunPaths(join(place, objective)).fold(FOLD);
  const seconds = async (stage) => JSON.parse(await readFile(paths.stage(stage).done, 'utf8')).seconds;
  const rows = async (which) =>
    (await readFile(paths.rows(which), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((row) => JSON.parse(row));
  return {
    predictions: await rows('predictions'),
    baseline: await rows('baseline'),
    metrics: JSON.parse(await readFile(paths.stage('evaluate').metrics, 'utf8')),
    alignSeconds: (await Promise.all(alignmentStages(objective).map(seconds))).reduce((sum, value) => sum + value, 0),
    finetuneSeconds: await seconds('finetune'),
  };
}
