import type { StageName } from '../run/paths.js';
import { align } from './align.js';
import { cluster } from './cluster.js';
import type { StageContext } from './context.js';
import { evaluate } from './evaluate.js';
import { finetune } from './finetune.js';
import { mfccRound } from './mfccRound.js';
import { pretrain } from './pretrain.js';
import { tapt } from './tapt.js';
import { timeline } from './timeline.js';

/** Every stage by name, in order. */
export const stages: Record<StageName, (context: StageContext) => Promise<void>> = {
  mfcc: mfccRound,
  tapt,
  finetune,
  cluster,
  pretrain,
  align,
  timeline,
  evaluate,
};

/** The stages whose results a stage reads, of those that a run has. */
export const needs: Record<StageName, readonly StageName[]> = {
  mfcc: [],
  tapt: ['mfcc'],
  finetune: ['tapt'],
  cluster: ['finetune'],
  pretrain: ['mfcc', 'tapt', 'cluster'],
  align: ['pretrain'],
  timeline: ['pretrain', 'align'],
  evaluate: ['finetune', 'cluster', 'align', 'timeline'],
};
