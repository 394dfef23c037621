import type { StageName } from '../run/stages.js';
import type { CommandContext } from './command.js';
import type { Values } from './options.js';
import { Progress } from './progress.js';
import { openTrainer, readRunOptions, type runDirectoryOptions } from './runOptions.js';

/** Runs one stage in a run directory. */
export async function runStage(
  stage: StageName,
  corpora: readonly string[],
  values: Values<typeof runDirectoryOptions> & { json: boolean },
  context: CommandContext,
): Promise<void> {
  const progress = new Progress();
  const options = await readRunOptions(corpora, values, context, progress);
  await using trainer = await openTrainer(options.trainer, context, progress);
  await trainer[stage](options.call).finally(() => progress.finish());
  if (values.json) await context.printJson({ stage, out: values.out }, 0);
  else await context.print(`${stage} finished in ${values.out}`);
}
