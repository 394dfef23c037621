import type { RunOptions } from './options.js';
import { buildPredictor } from './predictor.js';
import { withSession } from './session.js';
import type { RunSummary } from './summary.js';

/**
 * Runs the whole method: every stage of every fold, then the summary over all folds.
 *
 * @returns what `summary.json` holds.
 * @throws `ERR_RUN_EXISTS`, `ERR_RUN_MISMATCH`, `ERR_CORPUS`, `ERR_FOLDS`, `ERR_ABORTED`, and what stages throw.
 * @example
 * const summary = await runPipeline({ corpus, modelDir: 'hubert-base', out: 'runs/first', config: parseConfig() });
 * console.log(summary.ua, summary.baseline.ua);
 */
export async function runPipeline(options: RunOptions): Promise<RunSummary> {
  return withSession(options, options.resume === true, async (session) => {
    let summary: RunSummary | undefined;
    for (const fold of session.folds) {
      for (const stage of session.stageNames) {
        await session.complete(fold, stage);
        if (stage === 'align') await buildPredictor(session.run.fold(fold.name));
      }
      summary = await session.summarize();
    }
    // There is a fold, and its last stage is evaluation.
    return summary!;
  });
}
