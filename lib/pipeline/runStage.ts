import { readdir } from 'node:fs/promises';
import { EmoframeError } from '../errors.js';
import type { StageName } from '../stages/foldPaths.js';
import type { RunOptions } from './options.js';
import { buildPredictor } from './predictor.js';
import { withSession } from './session.js';

/**
 * Runs one stage of every fold (or of `options.folds`), over the results that earlier stages left in the run directory.
 *
 * @throws `ERR_STAGE` naming the stage that must run first; `ERR_RUN_EXISTS` when the stage was begun and `resume` is off.
 * @example
 * await runStage('tapt', { corpus, modelDir: 'hubert-base', out: 'runs/first', config: parseConfig() });
 */
export async function runStage(stage: StageName, options: RunOptions): Promise<void> {
  await withSession(options, true, async (session) => {
    for (const fold of session.folds) {
      const paths = session.run.fold(fold.name);
      await session.requireNeeds(fold, stage);
      if (options.resume !== true && (await holdsSomething(paths.stage(stage).dir))) {
        throw new EmoframeError(
          'ERR_RUN_EXISTS',
          `Stage ${stage} of fold ${fold.name} was already begun in ${options.out}: use --resume to continue it, or choose another folder.`,
          { file: paths.stage(stage).dir },
        );
      }
      await session.complete(fold, stage);
      if (stage === 'align') await buildPredictor(paths);
    }
    await session.summarize();
  });
}

async function holdsSomething(dir: string): Promise<boolean> {
  const entries = await readdir(dir).catch(() => []);
  return entries.length > 0;
}
