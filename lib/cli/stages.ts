import { stageList } from '../run/stages.js';
import { type Command, defineCommand } from './command.js';
import { Progress } from './progress.js';
import { openTrainer, readRunOptions, runDirectoryOptions } from './runOptions.js';

/** A command for each stage; `emoframe run` runs them all in turn. */
export const stageCommands: Command[] = stageList.map(({ name: stage, title }) =>
  defineCommand({
    name: stage,
    summary: title,
    arguments: 'CORPUS...',
    description: `Runs ${title}. The run directory must have the results of the earlier stages.`,
    options: runDirectoryOptions,
    examples: [`emoframe ${stage} iemocap.jsonl --model hubert-base-ls960 --out runs/iemocap`],
    run: async (positionals, values, context) => {
      const progress = new Progress();
      const options = await readRunOptions(positionals, values, context, progress);
      await using trainer = await openTrainer(options.trainer, context, progress);
      await trainer[stage](options.call).finally(() => progress.finish());
      await context.print(
        values.json ? JSON.stringify({ stage, out: values.out }) : `${stage} finished in ${values.out}`,
      );
    },
  }),
);
