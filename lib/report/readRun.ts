import type { RunConfig } from '../config/types.js';
import { EmoframeError } from '../errors.js';
import type { Refuse } from '../files/read.js';
import { type LogRow, objectiveOf, RunReader } from '../run/format.js';
import { RunPaths } from '../run/paths.js';
import type { RunSummary } from '../run/scores.js';
import type { RegressionSummary } from '../run/valueScores.js';

/** What a page shows of a run, but for the rows of its predictions, which can be large. */
export interface ReportedRun<Summary = RunSummary | RegressionSummary> {
  reader: RunReader;
  /** Of the corpus. */
  name: string;
  summary: Summary;
  /** All of `config.json`. */
  config: Record<string, unknown>;
  /** What stage 4 is trained for. */
  objective: RunConfig['align']['objective'];
  log: LogRow[];
  /** Folds that were evaluated. */
  folds: string[];
}

/** Reads what a finished run left. @throws `ERR_RUN_INCOMPLETE` when nothing was evaluated yet, or a file cannot be used. */
export async function readRun(dir: string): Promise<AnyRun> {
  const reader = new RunReader(new RunPaths(dir), incomplete);
  const summary = await reader.summary();
  const config = await reader.config();
  const run = {
    reader,
    name: (await reader.corpus()).name,
    config,
    objective: objectiveOf(config.config),
    log: await reader.log(),
    folds: summary.folds.map(({ name }) => name).sort(),
  };
  return 'dimensions' in summary ? { ...run, summary } : { ...run, summary };
}

/** A run that learned values of dimensions, or one that learned classes. */
export type AnyRun = ReportedRun<RunSummary> | ReportedRun<RegressionSummary>;

export function learnedValues(run: AnyRun): run is ReportedRun<RegressionSummary> {
  return 'dimensions' in run.summary;
}

function incomplete(file: string): Refuse {
  return (reason, cause) =>
    new EmoframeError(
      'ERR_RUN_INCOMPLETE',
      `${file} cannot be used (${reason}): a report needs a run that was evaluated. Continue it with emoframe run --resume.`,
      { file, cause },
    );
}
