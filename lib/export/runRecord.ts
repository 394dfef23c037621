// What a run directory records about one of its models: data, settings and scores.
import { realpath } from 'node:fs/promises';
import { basename } from 'node:path';
import { EmoframeError } from '../errors.js';
import { fileExists, type Refuse, readError } from '../files/read.js';
import { nameOfSnapshot } from '../hub/cache.js';
import { objectiveOf, RunReader, type RunSettings, settingsSchema } from '../run/format.js';
import { placeOf } from '../run/paths.js';
import type { PooledScores, Scores } from '../run/scores.js';
import { isDone, verifyResult } from '../run/stageResult.js';
import { predictingStage, type StageName } from '../run/stages.js';
import type { PooledValueScores, ValueScores } from '../run/valueScores.js';

/** Of one part of a fold. */
export interface PartOfCorpus {
  utterances: number;
  /** Labelled ones, by label. */
  labels: ReadonlyMap<string, number>;
  /** Number of speakers; 0 if the corpus does not say. */
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
  config: RunSettings;
  train: PartOfCorpus;
  validation: PartOfCorpus;
  test: PartOfCorpus;
  /** Number of speakers in both the test and training or validation. */
  sharedSpeakers: number;
  /** On the fold's test utterances, once the run has evaluated the model. */
  scores?: Scores & { utterances: number };
  /** The same method over all folds that were evaluated. */
  overall?: PooledScores & { utterances: number; folds: number };
  /** Of a regression, in place of `scores`. */
  valueScores?: ValueScores & { utterances: number };
  /** Of a regression, in place of `overall`. */
  overallValues?: PooledValueScores & { utterances: number; folds: number };
}

/**
 * What is known of a model that lies where a run puts it: a fold's `predictor`, or a stage's `model`. Nothing for other
 * directories.
 *
 * @throws EmoframeError `ERR_RUN_INCOMPLETE` for a file that is not as a run writes it; `ERR_CHECKPOINT_DAMAGED`, `ERR_READ`
 */
export async function readRunRecord(dir: string): Promise<RunRecord | undefined> {
  const place = placeOf(
    await realpath(dir).catch((error: unknown) => {
      throw readError(dir, error);
    }),
  );
  if (place === undefined || !(await fileExists(place.run.folds))) return undefined;
  const { run, fold } = place;
  const reader = new RunReader(run, strange);
  const { model, versions, config } = await reader.config();
  const last = predictingStage(objectiveOf(config));
  const stage = place.stage ?? last;
  const hubName = model === null ? undefined : nameOfSnapshot(model);
  const corpus = await reader.corpus();
  const folds = await reader.folds();
  const parts = folds.find(({ name }) => name === fold);
  if (parts === undefined) throw strange(run.folds)(`it has no fold ${fold}`);
  const byId = new Map(corpus.utterances.map((utterance) => [utterance.id, utterance]));
  const speakersOf = (ids: readonly string[]) => new Set(ids.flatMap((id) => byId.get(id)?.speaker ?? []));
  const part = (ids: readonly string[]): PartOfCorpus => {
    const labels = new Map<string, number>();
    for (const id of ids) {
      const label = byId.get(id)?.label;
      if (label !== undefined) labels.set(label, (labels.get(label) ?? 0) + 1);
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
    // In the schema's order: what decides most comes first.
    config: settingsSchema.parse(config),
    train: part(parts.train),
    validation: part(parts.validation),
    test: part(parts.test),
    sharedSpeakers: [...speakersOf(parts.test)].filter((speaker) => trained.has(speaker)).length,
    ...(await scoresOf(reader, fold, stage, last, Array.isArray(config.dimensions))),
  };
}

/** Stage 5 evaluates the model of stage 4's last part and, as the baseline, stage 1b's. */
async function scoresOf(
  reader: RunReader,
  fold: string,
  stage: StageName,
  last: StageName,
  regression: boolean,
): Promise<Pick<RunRecord, 'scores' | 'overall' | 'valueScores' | 'overallValues'>> {
  const { paths } = reader;
  const evaluated = paths.fold(fold).stage('evaluate');
  if ((stage !== last && stage !== 'finetune') || !(await isDone(evaluated))) return {};
  await verifyResult(evaluated.metrics);
  const summary = (await fileExists(paths.summary)) ? await reader.summary() : undefined;
  const counts = summary && { utterances: summary.utterances, folds: summary.folds.length };
  if (regression) {
    const { utterances, baseline, ...scores } = await reader.valueMetrics(fold);
    const pooled = summary && 'dimensions' in summary && (stage === last ? summary : summary.baseline);
    return {
      valueScores: { ...(stage === last ? scores : baseline), utterances },
      ...(pooled && { overallValues: { ...pooled, ...counts! } }),
    };
  }
  const { utterances, baseline, ...scores } = await reader.metrics(fold);
  const pooled = summary && 'ua' in summary && (stage === last ? summary : summary.baseline);
  return {
    scores: { ...(stage === last ? scores : baseline), utterances },
    ...(pooled && { overall: { ...pooled, ...counts! } }),
  };
}

function strange(file: string): Refuse {
  return (reason, cause) =>
    new EmoframeError(
      'ERR_RUN_INCOMPLETE',
      `${file} is not what a run writes (${reason}); restore it, or copy the model out of the run to export it without its record.`,
      { file, cause },
    );
}
