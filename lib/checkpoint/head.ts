// The head of a model, for which transformers' files have no place: its tensors in `head.safetensors`, its description in
// `emoframe.json`.

import { join } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import type { Calibration } from '../evaluate/fusion.js';
import { writeJson } from '../files/json.js';
import { fileExists } from '../files/read.js';
import { given } from '../given.js';
import { byName, describeIssues, listOf } from '../issues.js';
import { type AlignmentSettings, alignmentSchema } from '../model/alignment.js';
import type { ClassifierOptions, PoolingName } from '../model/binding.js';
import { headLayers, poolingName } from '../model/classifier.js';
import type { Tensor } from '../model/tensor.js';
import { readModelJson } from './failures.js';
import { checkFinite } from './finite.js';
import { readSafetensors, writeSafetensors } from './safetensors.js';

/** What a pooled head has beside its pooling and its output; see {@link ClassifierOptions}. */
export type HeadLayers = Pick<ClassifierOptions, 'source' | 'inputNorm' | 'projector' | 'dense' | 'bias'>;

/** A head on top of an encoder, and the names of its outputs. */
export interface Head {
  /** A `classifier` pools frames, has an alignment network, or both. */
  kind: 'classifier' | 'masked-prediction';
  /** Names of the classifier's outputs in their order: classes, or dimensions of a regression; may be empty for masked prediction. */
  labels: string[];
  /** `regression`: the outputs are values of dimensions, such as arousal. Absent: classes. */
  task?: 'regression';
  /** How a classifier pools frames; absent where there is an alignment network alone. */
  pooling?: PoolingName;
  /** What the pooled classifier has beside pooling and output; absent: nothing. */
  layers?: HeadLayers;
  /** Of an alignment network, whose tensors are `alignment.*`. */
  alignment?: AlignmentSettings;
  /** How much the logits of either count in the decision; 1 where it is absent. */
  calibration?: Calibration;
  tensors: Tensor[];
  /** Anything worth keeping with it, as JSON: where it came from, its scores. */
  info?: Record<string, unknown>;
}

const weight = z.number().nonnegative().exactOptional();

const layersSchema: z.ZodType<HeadLayers> = z.strictObject(headLayers);

const description = z
  .object({
    // 2: it has `task` or `layers`, or pools in a way, that readers of 1 do not know.
    format: z.literal([1, 2]),
    kind: z.enum(['classifier', 'masked-prediction']),
    labels: listOf(z.string().min(1)),
    task: z.literal('regression').optional(),
    pooling: poolingName.optional(),
    layers: layersSchema.optional(),
    alignment: alignmentSchema.optional(),
    calibration: z.strictObject({ classifier: weight, alignment: weight }).optional(),
    info: byName(z.unknown()).optional(),
  })
  .refine(({ labels }) => new Set(labels).size === labels.length, 'labels must differ from each other')
  .refine(({ kind, labels }) => kind !== 'classifier' || labels.length > 0, 'a classifier needs labels')
  .refine(({ kind, alignment }) => kind === 'classifier' || alignment === undefined, {
    path: ['alignment'],
    message: 'only a classifier may have an alignment network',
  })
  .refine(({ task, alignment }) => task === undefined || alignment === undefined, {
    path: ['alignment'],
    message: 'a regression may not have an alignment network, which tells classes apart',
  })
  .refine(({ labels, alignment }) => alignment === undefined || alignment.neutral < labels.length, {
    path: ['alignment', 'neutral'],
    message: 'it must be the index of one of the labels, counted from 0',
  });

/** How a head's classifier pools its frames; undefined: it has an alignment network alone. */
export function poolingOf({ pooling, alignment }: Pick<Head, 'pooling' | 'alignment'>): PoolingName | undefined {
  return pooling ?? (alignment === undefined ? 'attention' : undefined);
}

/** Frames around one to which a head is applied whole, and the distance of such windows: 1 s every 0.1 s with HuBERT's frames. */
const frameWindow = { window: 50, hop: 5 };

/**
 * Whether a head says of a frame alone what it says of an utterance: it is linear from there on. Otherwise frames have the outputs of
 * windows around them.
 */
function isLinearInFrames({ pooling, dense }: { pooling: PoolingName; dense?: HeadLayers['dense'] }): boolean {
  return (dense?.length ?? 0) === 0 && !['sum', 'max', 'attentive-stats'].includes(pooling);
}

/** What a model with a pooled head is made with; undefined: the head has none. */
export function classifierOptions(head: Omit<Head, 'tensors'>): ClassifierOptions | undefined {
  const pooling = poolingOf(head);
  if (pooling === undefined) return undefined;
  return {
    classes: head.labels.length,
    pooling,
    ...head.layers,
    ...given({ task: head.task }),
    ...(!isLinearInFrames({ pooling, ...head.layers }) && { frames: frameWindow }),
  };
}

/** Checks the content of `emoframe.json`, before it is written and after it was read. Errors: `ERR_CHECKPOINT` naming the field. */
function parseDescription(value: unknown, file: string): z.infer<typeof description> {
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === 'number' && format > 2) {
    throw new EmoframeError('ERR_CHECKPOINT', `${file} has format ${format}; a newer version of emoframe is needed.`, {
      file,
    });
  }
  const parsed = description.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new EmoframeError('ERR_CHECKPOINT', `${file} does not describe a head: ${describeIssues(parsed.error)}.`, {
    file,
  });
}

export const headFiles = ['emoframe.json', 'head.safetensors'] as const;

/**
 * The head kept in a model directory, if there is one. Errors: `ERR_CHECKPOINT`, `ERR_FILE_NOT_FOUND`, `ERR_READ`,
 * `ERR_NOT_FINITE`, `ERR_TENSOR` (as many outputs as labels are needed).
 */
export async function readHead(directory: string): Promise<Head | undefined> {
  const file = join(directory, headFiles[0]);
  if (!(await fileExists(file))) return undefined;
  const { format: _, ...described } = parseDescription(await readModelJson(file), file);
  const { kind, labels } = described;
  const weights = join(directory, headFiles[1]);
  const { tensors } = await readSafetensors(weights);
  await checkFinite(tensors.values(), weights, weights);
  for (const tensor of ['classifier.weight', 'alignment.output.weight']) {
    const rows = tensors.get(tensor)?.shape[0];
    if (kind !== 'classifier' || rows === undefined || rows === labels.length) continue;
    throw new EmoframeError(
      'ERR_TENSOR',
      `${file} names ${labels.length} labels, but ${tensor} in ${weights} has ${rows} rows: they do not belong together.`,
      { file: weights, tensor },
    );
  }
  return { ...given(described), kind, labels, tensors: [...tensors.values()] };
}

function formatOf({ task, pooling, layers }: Omit<Head, 'tensors'>): 1 | 2 {
  const known = pooling === undefined || ['mean', 'attention', 'attention-linear', 'stats'].includes(pooling);
  return known && task === undefined && layers === undefined ? 1 : 2;
}

/** Writes the two files into a directory. Errors: `ERR_CHECKPOINT` (labels), `ERR_TENSOR`, `ERR_WRITE`. */
export async function writeHead(directory: string, { tensors, ...rest }: Head): Promise<void> {
  const file = join(directory, headFiles[0]);
  const described = parseDescription({ format: formatOf(rest), ...rest }, file);
  await writeJson(file, described);
  await writeSafetensors(join(directory, headFiles[1]), tensors);
}
