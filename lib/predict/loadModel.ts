import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { normalizeWaveform } from '../audio/normalize.js';
import { type Head, loadPretrained } from '../checkpoint/pretrained.js';
import { EmoframeError } from '../errors.js';
import type { PackedBatch } from '../model/binding.js';
import type { Engine } from '../model/engine.js';
import type { Geometry } from '../model/geometry.js';
import type { Model } from '../model/model.js';

export type Precision = 'fp32' | 'bf16';

/** Where and how a model runs. */
export interface DeviceOptions {
  /** `"cpu"` (default) or `"cuda:N"`. */
  device?: string;
  /** `"fp32"` (default) or `"bf16"`. */
  precision?: Precision;
  /** 0 (default) = all threads this process may use. */
  threads?: number;
}

/** A model for inference, with what its directory says about its input. */
export interface LoadedModel {
  model: Model;
  /** Whether the model expects zero mean and unit variance per utterance. */
  normalize: boolean;
  head?: Head;
}

// transformers leaves the mask embedding out of models that are not to be trained with masks.
const onlyTraining = ['masked_spec_embed'];

/** Loads the HuBERT of a Hugging Face directory without its head. */
export async function loadEncoder(engine: Engine, dir: string, precision: Precision): Promise<LoadedModel> {
  const { config, tensors, normalize } = await loadPretrained(dir);
  const model = await engine.createModel({ config, precision });
  await model.importTensors(tensors.values(), { allowMissing: onlyTraining });
  return { model, normalize };
}

/** Loads HuBERT with its classifier head. @throws `ERR_HEAD` */
export async function loadClassifier(
  engine: Engine,
  dir: string,
  precision: Precision,
): Promise<LoadedModel & { head: Head }> {
  const { config, tensors, normalize, head } = await loadPretrained(dir);
  if (head?.kind !== 'classifier') throw await noHead(dir, head);
  const model = await engine.createModel({
    config,
    precision,
    classifier: { classes: head.labels.length, pooling: head.pooling ?? 'attention' },
  });
  await model.importTensors([...tensors.values(), ...head.tensors], { allowMissing: onlyTraining });
  return { model, normalize, head };
}

async function noHead(dir: string, head: Head | undefined): Promise<EmoframeError> {
  const folds = await readdir(join(dir, 'folds')).catch(() => []);
  const found = head === undefined ? 'no classifier head' : `a ${head.kind} head, not a classifier`;
  const advice =
    folds.length > 0
      ? `Give the predictor of one fold: ${join(dir, 'folds', folds[0]!, 'predictor')}.`
      : 'Give the predictor folder of a finished run (OUT/folds/FOLD/predictor); emoframe run makes one.';
  return new EmoframeError('ERR_HEAD', `${dir} has ${found}. ${advice}`, { file: dir });
}

/**
 * One utterance as a batch, normalised as its model expects.
 *
 * @throws `ERR_AUDIO_SHORT` when the audio does not fill one frame.
 */
export function batchOf(samples: Float32Array, normalize: boolean, geometry: Geometry, name: string): PackedBatch {
  if (geometry.frames(samples.length) < 1) {
    throw new EmoframeError(
      'ERR_AUDIO_SHORT',
      `${name} has ${samples.length} samples at 16 kHz; at least ${geometry.receptiveField} are needed for one frame.`,
      { file: name },
    );
  }
  return {
    samples: normalize ? normalizeWaveform(samples) : samples,
    starts: Int32Array.of(0),
    lengths: Int32Array.of(samples.length),
  };
}
