import type { StageName } from '../run/paths.js';
import { type Command, defineCommand } from './command.js';
import { Progress } from './progress.js';
import { openTrainer, readRunOptions, runDirectoryOptions } from './runOptions.js';

const stages: [StageName, string][] = [
  ['mfcc', 'first round from scratch: masked prediction of MFCC clusters'],
  ['tapt', 'stage 1a: task-adaptive pretraining on the corpus'],
  ['finetune', 'stage 1b: fine-tuning on utterance labels'],
  ['cluster', 'stage 2: frame-level pseudo-labels by k-means'],
  ['pretrain', 'stage 3: pretraining on the pseudo-labels'],
  ['align', 'stage 4: fine-tuning with attention'],
  ['timeline', 'stage 4, second part: the alignment network, which says when'],
  ['evaluate', 'stage 5: scores on the held-out sessions'],
];

/** One command a stage: what `emoframe run` does in turn. */
export const stageCommands: Command[] = stages.map(([stage, summary]) =>
  defineCommand({
    name: stage,
    summary,
    arguments: 'CORPUS...',
    description: `Runs ${summary}, over a run directory that holds the stages before it.`,
    options: runDirectoryOptions,
    examples: [`emoframe ${stage} iemocap.jsonl --model hubert-base-ls960 --out runs/iemocap`],
    run: async (positionals, values, context) => {
      const progress = new Progress();
      const options = await readRunOptions(positionals, values, context, progress);
      await using trainer = await openTrainer(options.trainer, context, progress);
      await trainer[stage](options.call).finally(() => progress.finish());
      await context.print(
        values.json ? JSON.stringify({ stage, out: values.out }) : `${stage} is done in ${values.out}`,
      );
    },
  }),
);
