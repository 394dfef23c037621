// What each file of a run directory holds, a schema a file, and the one reader of them all. A run of an earlier version lacks
// what was not recorded yet, which is read as not known.
import { z } from 'zod';
import type { RunConfig } from '../config/types.js';
import { foldsSchema } from '../corpus/foldFile.js';
import type { Fold } from '../corpus/folds.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { streamFileAtomic } from '../files/atomic.js';
import { isObject, readJson, readJsonl } from '../files/json.js';
import { fileExists, type Refuse } from '../files/read.js';
import { describeIssues, listOf, type Shape } from '../issues.js';
import { yieldWhenDue } from '../yield.js';
import type { RunPaths } from './paths.js';
import type { FoldSummary, Intervals, PredictionRow, RunSummary, Scores } from './scores.js';
import { unreadableSchema } from './unreadableFormat.js';
import { regressionSummarySchema, valueMetricsSchema, valueRowSchema } from './valueFormat.js';
import type { RegressionSummary, ValueFoldSummary, ValueRow } from './valueScores.js';

const text = z.string();
const texts = listOf(text);
const numbers = listOf(z.number());

/** Null where it cannot be known. */
const score = z.number().nullable();

/** JSON has null for the recall of a class that the truth lacks, which is NaN. */
const recall = z.custom<number>((value) => value === null || typeof value === 'number', 'Expected a number');

const errors = z.looseObject({ missed: z.number(), falseAlarm: z.number(), confusion: z.number() });

const scoresSchema = z.looseObject({
  wa: z.number(),
  ua: z.number(),
  macroF1: z.number(),
  recalls: listOf(recall),
  absent: numbers,
  confusion: listOf(numbers),
  eder: score,
  meanEder: score.exactOptional(),
  frameAccuracy: score,
  frameUa: score,
  attentionOnEmotion: score,
  posteriorOnEmotion: score.exactOptional(),
  emotionFrameShare: score,
  lift: score.exactOptional(),
  frameErrors: errors.nullable(),
} satisfies Shape<Scores>);

/** `metrics.json` of stage 5. */
const metricsSchema = scoresSchema.extend({ utterances: z.number(), excluded: texts, baseline: scoresSchema });

const interval = z.tuple([z.number(), z.number()]);
const pooledSchema = scoresSchema.extend({
  intervals: z.looseObject({ wa: interval, ua: interval, macroF1: interval } satisfies Shape<Intervals>),
  meanOverFolds: z.looseObject({ wa: z.number(), ua: z.number() }),
});
const summarySchema = pooledSchema.extend({
  baseline: pooledSchema,
  folds: listOf(metricsSchema.extend({ name: text })),
  labels: texts,
  neutral: text,
  protocol: z.enum(['inductive', 'transductive']),
  utterances: z.number(),
  skipped: listOf(unreadableSchema).optional(),
  seconds: z.number(),
});

/** Of the settings in `config.json`, what reports and model cards speak of. */
export const settingsSchema = z.looseObject({
  seed: z.number(),
  precision: text,
  protocol: text,
  folds: z.looseObject({ scheme: text }),
  /** Of a regression. Runs of before there was one have none. */
  dimensions: texts.nullable().optional(),
  // Runs of before there was a choice have none.
  align: z.looseObject({ objective: z.enum(['attention', 'forward-backward', 'both']).optional() }).optional(),
});

export type RunSettings = z.infer<typeof settingsSchema>;

const configSchema = z.looseObject({
  versions: z.looseObject({ emoframe: text }),
  /** Where the pretrained model was; null: from scratch. */
  model: text.nullable(),
  config: settingsSchema,
});

const corpusSchema = z.looseObject({
  name: text,
  dataset: text.optional(),
  labels: text.optional(),
  utterances: listOf(z.looseObject({ id: text, label: text.optional(), speaker: text.optional() })),
});

/** `predictions.jsonl` and `baseline.jsonl`. */
const rowSchema = z.looseObject({
  id: text,
  audio: text,
  startSeconds: z.number().exactOptional(),
  endSeconds: z.number().exactOptional(),
  channel: z.number().exactOptional(),
  label: text,
  predicted: text,
  probabilities: numbers,
  seconds: z.number(),
  frameSeconds: z.number(),
  labels: texts,
  timeline: z.enum(['alignment', 'attention']).exactOptional(),
  posteriors: listOf(numbers),
  attention: numbers,
  clusters: numbers.exactOptional(),
  path: numbers,
  truth: numbers.exactOptional(),
  errorSeconds: errors.exactOptional(),
} satisfies Shape<PredictionRow>);

/** A row of `log.jsonl` that a step has: where it stands, and numbers by name. Other rows are notes and warnings. */
export interface LogRow {
  fold: string;
  stage: string;
  step: number;
  metrics: ReadonlyMap<string, number>;
}
const logSchema = z.looseObject({ fold: text, stage: text, step: z.number() });

/** Of the settings that a run was begun with: what stage 4 is trained for. */
export function objectiveOf({ align }: RunSettings): RunConfig['align']['objective'] {
  return align?.objective ?? 'attention';
}

/** Writes `predictions.jsonl` or `baseline.jsonl`. Errors: `ERR_WRITE`. */
export async function writeRows(file: string, rows: readonly (PredictionRow | ValueRow)[]): Promise<void> {
  await streamFileAtomic(file, async (handle) => {
    for (const row of rows) await handle.appendFile(`${JSON.stringify(row)}\n`);
  });
}

/** A corpus of millions of utterances. */
const largestJson = 1 << 30;
const mostValues = 1e8;

/**
 * The files of a run. `refuse` makes the error of one that is missing or not as a run writes it; a file that the system does not
 * let be read is `ERR_READ`.
 *
 * @example
 * const { labels } = await new RunReader(new RunPaths('runs/a'), refuse).summary();
 */
export class RunReader {
  constructor(
    readonly paths: RunPaths,
    private readonly refuse: (file: string) => Refuse,
  ) {}

  /** What the run was begun with, and by what. */
  config(): Promise<z.infer<typeof configSchema>> {
    return this.#json(this.paths.config, configSchema);
  }

  corpus(): Promise<z.infer<typeof corpusSchema>> {
    return this.#json(this.paths.corpus, corpusSchema);
  }

  folds(): Promise<Fold[]> {
    return this.#json(this.paths.folds, listOf(foldsSchema.element));
  }

  /** Utterances that the run leaves out; none in a run of before that could be asked for. */
  async skipped(): Promise<UnreadableUtterance[]> {
    const { skipped } = this.paths;
    return (await fileExists(skipped)) ? this.#json(skipped, listOf(unreadableSchema)) : [];
  }

  /** Scores of a fold that is evaluated. */
  async metrics(fold: string): Promise<Omit<FoldSummary, 'name'>> {
    return measuredFold(await this.#json(this.paths.fold(fold).stage('evaluate').metrics, metricsSchema));
  }

  /** Scores of a fold of a regression that is evaluated. */
  async valueMetrics(fold: string): Promise<Omit<ValueFoldSummary, 'name'>> {
    const file = this.paths.fold(fold).stage('evaluate').metrics;
    const { ccc, values, utterances, excluded, baseline } = await this.#json(file, valueMetricsSchema);
    return { ccc, values, utterances, excluded, baseline };
  }

  /** Scores of all folds that are evaluated: of classes, or of `dimensions`. */
  async summary(): Promise<RunSummary | RegressionSummary> {
    const file = this.paths.summary;
    const content = await this.#content(file);
    if (isObject(content) && 'dimensions' in content) {
      const { skipped = [], ...found } = this.#checked(file, content, regressionSummarySchema);
      return { ...found, skipped };
    }
    const { baseline, folds, skipped = [], ...summary } = this.#checked(file, content, summarySchema);
    return {
      ...summary,
      ...measured(summary),
      baseline: { ...baseline, ...measured(baseline) },
      folds: folds.map((fold) => ({ name: fold.name, ...measuredFold(fold) })),
      skipped,
    };
  }

  /** Predictions of stage 4's model, or of stage 1b's (`baseline`), for a fold's test utterances, one by one. */
  rows(fold: string, which: 'predictions' | 'baseline'): AsyncGenerator<PredictionRow> {
    return this.#rows(fold, which, rowSchema);
  }

  /** The same of a regression. */
  valueRows(fold: string, which: 'predictions' | 'baseline'): AsyncGenerator<ValueRow> {
    return this.#rows(fold, which, valueRowSchema);
  }

  async *#rows<Row>(fold: string, which: 'predictions' | 'baseline', schema: z.ZodType<Row>): AsyncGenerator<Row> {
    const file = this.paths.fold(fold).rows(which);
    const refuse = this.refuse(file);
    if (!(await fileExists(file))) throw refuse('it is missing');
    for await (const { row, value, reason } of readJsonl(file)) {
      await yieldWhenDue();
      const { error } = schema.safeParse(value);
      if (error === undefined) yield value as Row;
      else throw refuse(`line ${row} is not a prediction: ${reason ?? describeIssues(error)}`);
    }
  }

  /** What was logged of steps. A last line that a crash cut short is passed over. */
  async log(): Promise<LogRow[]> {
    const rows: LogRow[] = [];
    if (!(await fileExists(this.paths.log))) return rows;
    for await (const { value } of readJsonl(this.paths.log)) {
      const { data } = logSchema.safeParse(value);
      if (data === undefined) continue;
      const { fold, stage, step, total: _, ...rest } = data;
      const metrics = new Map<string, number>();
      for (const [name, number] of Object.entries(rest)) {
        if (typeof number === 'number' && Number.isFinite(number)) metrics.set(name, number);
      }
      rows.push({ fold, stage, step, metrics });
    }
    return rows;
  }

  /** A file's content as it stands, so with what the schema does not know, once it is what a run writes. */
  async #json<Content>(file: string, schema: z.ZodType<Content>): Promise<Content> {
    return this.#checked(file, await this.#content(file), schema);
  }

  async #content(file: string): Promise<unknown> {
    const refuse = this.refuse(file);
    if (!(await fileExists(file))) throw refuse('it is missing');
    return readJson(file, largestJson, refuse, { values: mostValues });
  }

  #checked<Content>(file: string, content: unknown, schema: z.ZodType<Content>): Content {
    const { error } = schema.safeParse(content);
    if (error !== undefined) throw this.refuse(file)(describeIssues(error));
    return content as Content;
  }
}

/** With null for what the run's version did not measure yet. */
function measured(scores: z.infer<typeof scoresSchema>): Scores {
  return { posteriorOnEmotion: null, lift: null, ...scores, meanEder: scores.meanEder ?? null };
}

function measuredFold(metrics: z.infer<typeof metricsSchema>): Omit<FoldSummary, 'name'> {
  const { utterances, excluded, baseline } = metrics;
  return { ...measured(metrics), utterances, excluded, baseline: measured(baseline) };
}
