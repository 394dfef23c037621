import { type StageDescription, type StageName, stageNamed } from '../run/stages.js';
import { align } from './align.js';
import { cluster } from './cluster.js';
import type { StageContext } from './context.js';
import { evaluate } from './evaluate.js';
import { finetune } from './finetune.js';
import { mfccRound } from './mfccRound.js';
import { pretrain } from './pretrain.js';
import { tapt } from './tapt.js';
import { timeline } from './timeline.js';

/** A stage that can be run. */
export interface Stage extends StageDescription {
  /** Reads the results of the stages it needs, and leaves its own in its folder. */
  run(context: StageContext): Promise<void>;
}

const runs: Record<StageName, Stage['run']> = {
  mfcc: mfccRound,
  tapt,
  finetune,
  cluster,
  pretrain,
  align,
  timeline,
  evaluate,
};

/** The stage called `name`. */
export function findStage(name: StageName): Stage {
  return { ...stageNamed(name), run: runs[name] };
}
