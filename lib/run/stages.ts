// The stages of the method in their order: the one list that the pipeline, the command line, reports and model cards read.
// What each of them does stands in lib/stages.
import type { RunConfig } from '../config/types.js';

type Objective = RunConfig['align']['objective'];

const list = [
  {
    name: 'mfcc',
    title: 'first round from scratch: masked prediction of MFCC clusters',
    needs: [],
    settings: 'mfcc',
    when: 'from scratch',
  },
  { name: 'tapt', title: 'stage 1a: task-adaptive pretraining on the corpus', needs: ['mfcc'], settings: 'tapt' },
  { name: 'finetune', title: 'stage 1b: fine-tuning on utterance labels', needs: ['tapt'], settings: 'finetune' },
  { name: 'cluster', title: 'stage 2: frame-level pseudo-labels by k-means', needs: ['finetune'], settings: 'cluster' },
  {
    name: 'pretrain',
    title: 'stage 3: pretraining on the pseudo-labels',
    needs: ['mfcc', 'tapt', 'cluster'],
    settings: 'pretrain',
  },
  {
    name: 'align',
    title: 'stage 4: fine-tuning with attention',
    needs: ['pretrain'],
    settings: 'align',
    when: ['attention', 'both'],
  },
  {
    name: 'timeline',
    title: 'stage 4, second part: the alignment network, which says when an emotion occurs',
    needs: ['pretrain', 'align'],
    settings: 'align.network',
    when: ['forward-backward', 'both'],
  },
  {
    name: 'evaluate',
    title: 'stage 5: scores on the held-out sessions',
    needs: ['finetune', 'cluster', 'align', 'timeline'],
    settings: 'evaluate',
  },
] as const;

export type StageName = (typeof list)[number]['name'];

/** What is known of a stage without running it. */
export interface StageDescription {
  /** Its folder in a run, its command and its method of `Trainer`. */
  readonly name: StageName;
  /** What it is, as a heading or after a verb. */
  readonly title: string;
  /** The stages whose results it reads, of those that a run has. */
  readonly needs: readonly StageName[];
  /** The section of the config that sets it up. */
  readonly settings: keyof RunConfig | 'align.network';
  /** The runs that have it; absent: all. */
  readonly when?: 'from scratch' | readonly Objective[];
}

/** Every stage, in order. */
export const stageList: readonly StageDescription[] = list;

export const stageNames: readonly StageName[] = list.map(({ name }) => name);

/** The stage called `name`. */
export function stageNamed(name: StageName): StageDescription {
  return stageList.find((stage) => stage.name === name)!;
}

/** The stages of a run, in order. */
export function stagesOf(run: { fromScratch: boolean; objective: Objective }): StageDescription[] {
  return stageList.filter(({ when }) => {
    if (when === undefined) return true;
    return when === 'from scratch' ? run.fromScratch : when.includes(run.objective);
  });
}

/** Of the two parts of stage 4, those that a run has. */
export function alignmentStages(objective: Objective): StageName[] {
  return stageList.flatMap(({ name, when }) => (when !== 'from scratch' && when?.includes(objective) ? name : []));
}

/** The stage whose model predicts, and is scored by stage 5. */
export function predictingStage(objective: Objective): StageName {
  return alignmentStages(objective).at(-1)!;
}
