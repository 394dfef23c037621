import { type StageName, stageList } from '../run/stages.js';
import { type Command, defineCommand } from './command.js';
import { evaluateCommand } from './evaluate.js';
import { runDirectoryOptions } from './runOptions.js';
import { runStage } from './runStage.js';

/** A command for each stage; `emoframe run` runs them all in turn. */
export const stageCommands: Command[] = stageList.map(({ name, title }) =>
  name === 'evaluate' ? evaluateCommand : stageCommand(name, title),
);

function stageCommand(stage: StageName, title: string): Command {
  return defineCommand({
    name: stage,
    summary: title,
    arguments: 'CORPUS...',
    description: `Runs ${title}. The run directory must have the results of the earlier stages.`,
    options: runDirectoryOptions,
    examples: [`emoframe ${stage} iemocap.jsonl --model hubert-base-ls960 --out runs/iemocap`],
    run: (positionals, values, context) => runStage(stage, positionals, values, context),
  });
}
