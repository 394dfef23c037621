// What the files of a run hold where it learns values of dimensions in place of classes.
import { z } from 'zod';
import { hasValues } from '../corpus/values.js';
import type { ValueMetrics } from '../evaluate/concordance.js';
import { byName, listOf, type Shape } from '../issues.js';
import { unreadableSchema } from './unreadableFormat.js';
import type { ValueRow, ValueScores } from './valueScores.js';

const text = z.string();
const values = byName(z.number());
const interval = z.tuple([z.number(), z.number()]);

const scores = z.looseObject({
  ccc: z.number(),
  values: byName(
    z.looseObject({ ccc: z.number(), pearson: z.number(), rmse: z.number() } satisfies Shape<ValueMetrics>),
  ),
} satisfies Shape<ValueScores>);

/** `metrics.json` of stage 5. */
export const valueMetricsSchema = scores.extend({
  utterances: z.number(),
  excluded: listOf(text),
  baseline: scores,
});

const pooled = scores.extend({
  intervals: z.looseObject({ ccc: interval, values: byName(interval) }),
  meanOverFolds: z.looseObject({ ccc: z.number() }),
});

export const regressionSummarySchema = pooled.extend({
  baseline: pooled,
  folds: listOf(valueMetricsSchema.extend({ name: text })),
  dimensions: listOf(text),
  protocol: z.enum(['inductive', 'transductive']),
  utterances: z.number(),
  skipped: listOf(unreadableSchema).optional(),
  seconds: z.number(),
});

/** A line of `predictions.jsonl` or `baseline.jsonl`. */
export const valueRowSchema = z
  .looseObject({
    id: text,
    audio: text,
    startSeconds: z.number().exactOptional(),
    endSeconds: z.number().exactOptional(),
    channel: z.number().exactOptional(),
    target: values,
    values,
    seconds: z.number(),
    frameSeconds: z.number(),
    dimensions: listOf(text),
    frameValues: listOf(listOf(z.number())),
    attention: listOf(z.number()),
    clusters: listOf(z.number()).exactOptional(),
  } satisfies Shape<ValueRow>)
  .refine(
    ({ dimensions, target, values }) => hasValues({ values: target }, dimensions) && hasValues({ values }, dimensions),
    'Expected a value of every dimension',
  );
