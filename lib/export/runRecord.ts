// What a run directory tells of a model that lies in it: the data, the settings, and how well it did.
import { realpath } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { readJson } from '../files/json.js';
import { fileExists } from '../files/read.js';
import { nameOfSnapshot } from '../hub/cache.js';
import { describeIssues } from '../issues.js';
import { placeOf, type RunPaths } from '../run/paths.js';
import { isDone, verifyResult } from '../run/stageResult.js';
import { predictingStage, type StageName } from '../run/stages.js';

/** A corpus of millions of utterances. */
const largestJson = 1 << 30;

const score = z.number().nullish();
const interval = z.tuple([z.number(), z.number()]);
const scoresSchema = z.looseObject({
  wa: z.number(),
  ua: z.number(),
  macroF1: z.number(),
  eder: score,
  frameAccuracy: score,
  frameUa: score,
  posteriorOnEmotion: score,
  lift: score,
});
const intervalsSchema = z.looseObject({ wa: interval, ua: interval, macroF1: interval });
const pooledSchema = scoresSchema.extend({ intervals: intervalsSchema });

const configSchema = z.looseObject({
  model: z.string().nullable(),
  versions: z.looseObject({ emoframe: z.string() }),
  config: z.looseObject({
    seed: z.number(),
    precision: z.string(),
    protocol: z.string(),
    folds: z.looseObject({ scheme: z.string() }),
    // Runs of before there was a choice tell none.
    align: z.looseObject({ objective: z.enum(['attention', 'forward-backward', 'both']).optional() }).optional(),
  }),
});
const corpusSchema = z.looseObject({
  name: z.string(),
  dataset: z.string().optional(),
  labels: z.string().optional(),
  utterances: z.array(z.looseObject({ id: z.string(), label: z.string().optional(), speaker: z.string().optional() })),
});
const foldsSchema = z.array(
  z.looseObject({
    name: z.string(),
    train: z.array(z.string()),
    validation: z.array(z.string()),
    test: z.array(z.string()),
  }),
);
const metricsSchema = scoresSchema.extend({ utterances: z.number(), baseline: scoresSchema });
const summarySchema = pooledSchema.extend({
  baseline: pooledSchema,
  utterances: z.number(),
  folds: z.array(z.unknown()),
});

export type RecordedScores = z.infer<typeof scoresSchema>;

/** Of one part of a fold. */
export interface PartOfCorpus {
  utterances: number;
  /** Labelled ones, by label. */
  labels: Record<string, number>;
  /** Who is heard, where the corpus says. */
  speakers: number;
}

/** A model's origin. */
export interface RunRecord {
  stage: StageName;
  fold: string;
  corpus: string;
  /** The dataset whose layout the corpus has. */
  dataset?: string | undefined;
  /** The label scheme that was applied to it. */
  labelScheme?: string | undefined;
  /** The pretrained model: its name on the Hub, or that of its folder; null: from scratch. */
  startedFrom: { name: string; onHub: boolean } | null;
  emoframe: string;
  config: z.infer<typeof configSchema>['config'];
  train: PartOfCorpus;
  validation: PartOfCorpus;
  test: PartOfCorpus;
  /** How many are heard both in the test and in training or validation. */
  sharedSpeakers: number;
  /** On the fold's test utterances, once the run has evaluated the model. */
  scores?: RecordedScores & { utterances: number };
  /** The same method over all folds that were evaluated. */
  overall?: z.infer<typeof pooledSchema> & { utterances: number; folds: number };
}

/**
 * What is known of a model that lies where a run puts it: a fold's `predictor`, or a stage's `model`. Nothing for other
 * directories.
 *
 * @throws EmoframeError `ERR_RUN_INCOMPLETE` for a file that is not as a run writes it; `ERR_CHECKPOINT_DAMAGED`, `ERR_READ`
 */
export async function readRunRecord(dir: string): Promise<RunRecord | undefined> {
  const place = placeOf(await realpath(dir));
  if (place === undefined || !(await fileExists(place.run.folds))) return undefined;
  const { run, fold } = place;
  const { model, versions, config } = await read(run.config, configSchema);
  const last = predictingStage(config.align?.objective ?? 'attention');
  const stage = place.stage ?? last;
  const hubName = model === null ? undefined : nameOfSnapshot(model);
  const corpus = await read(run.corpus, corpusSchema);
  const folds = await read(run.folds, foldsSchema);
  const parts = folds.find(({ name }) => name === fold);
  if (parts === undefined) throw strange(run.folds, `it has no fold ${fold}`);
  const byId = new Map(corpus.utterances.map((utterance) => [utterance.id, utterance]));
  const speakersOf = (ids: readonly string[]) => new Set(ids.flatMap((id) => byId.get(id)?.speaker ?? []));
  const part = (ids: readonly string[]): PartOfCorpus => {
    const labels: Record<string, number> = {};
    for (const id of ids) {
      const label = byId.get(id)?.label;
      if (label !== undefined) labels[label] = (labels[label] ?? 0) + 1;
    }
    return { utterances: ids.length, labels, speakers: speakersOf(ids).size };
  };
  const trained = speakersOf([...parts.train, ...parts.validation]);
  return {
    stage,
    fold,
    corpus: corpus.name,
    dataset: corpus.dataset,
    labelScheme: corpus.labels,
    startedFrom: model === null ? null : { name: hubName ?? basename(model), onHub: hubName !== undefined },
    emoframe: versions.emoframe,
    config,
    train: part(parts.train),
    validation: part(parts.validation),
    test: part(parts.test),
    sharedSpeakers: [...speakersOf(parts.test)].filter((speaker) => trained.has(speaker)).length,
    ...(await scoresOf(run, fold, stage, last)),
  };
}

/** Stage 5 hears the model of stage 4's last part and, as the baseline, stage 1b's. */
async function scoresOf(
  run: RunPaths,
  fold: string,
  stage: StageName,
  last: StageName,
): Promise<Pick<RunRecord, 'scores' | 'overall'>> {
  const evaluated = run.fold(fold).stage('evaluate');
  if ((stage !== last && stage !== 'finetune') || !(await isDone(evaluated))) return {};
  await verifyResult(evaluated.metrics);
  const { utterances, baseline, ...scores } = await read(evaluated.metrics, metricsSchema);
  const found = { scores: { ...(stage === last ? scores : baseline), utterances } };
  if (!(await fileExists(run.summary))) return found;
  const summary = await read(run.summary, summarySchema);
  const pooled = stage === last ? summary : summary.baseline;
  return { ...found, overall: { ...pooled, utterances: summary.utterances, folds: summary.folds.length } };
}

async function read<T>(file: string, schema: z.ZodType<T>): Promise<T> {
  const parsed = schema.safeParse(await readJson(file, largestJson, (reason, cause) => strange(file, reason, cause)));
  if (parsed.success) return parsed.data;
  throw strange(file, describeIssues(parsed.error));
}

function strange(file: string, what: string, cause?: unknown): EmoframeError {
  return new EmoframeError(
    'ERR_RUN_INCOMPLETE',
    `${file} is not as a run writes it (${what}); restore it, or copy the model out of the run to export it without its record.`,
    { file, cause },
  );
}
