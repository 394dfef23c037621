import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { poolingOf } from '../checkpoint/head.js';
import { type Head, usePretrained } from '../checkpoint/pretrained.js';
import { EmoframeError } from '../errors.js';
import { alignmentOptions } from '../model/alignment.js';
import type { Precision } from '../model/binding.js';
import type { Engine } from '../model/engine.js';
import type { Model } from '../model/model.js';
import { PassMemory } from './memory.js';

/** A model for inference, with what its checkpoint says about its input. */
export interface LoadedModel {
  model: Model;
  /** Whether the model expects zero mean and unit variance per utterance. */
  normalize: boolean;
  memory: PassMemory;
  head?: Head;
}

// transformers leaves the mask embedding out of models that are not to be trained with masks.
const onlyTraining = ['masked_spec_embed'];

/** Loads the HuBERT of a checkpoint without its head. */
export async function loadEncoder(engine: Engine, dir: string, precision: Precision): Promise<LoadedModel> {
  return usePretrained(dir, async ({ config, tensors, normalize }) => {
    const model = await engine.createModel({ config, precision });
    await model.importTensors(tensors.values(), { allowMissing: onlyTraining, file: dir });
    await model.packForInference();
    return { model, normalize, memory: new PassMemory(engine, model) };
  });
}

/** Loads HuBERT with its classifier, its alignment network, or both. @throws `ERR_HEAD` */
export async function loadClassifier(
  engine: Engine,
  dir: string,
  precision: Precision,
): Promise<LoadedModel & { head: Head }> {
  return usePretrained(dir, async ({ config, tensors, normalize, head }) => {
    if (head?.kind !== 'classifier') throw await noHead(dir, head);
    const classes = head.labels.length;
    const pooling = poolingOf(head);
    const model = await engine.createModel({
      config,
      precision,
      ...(pooling !== undefined && { classifier: { classes, pooling } }),
      ...(head.alignment !== undefined && { alignment: alignmentOptions(head.alignment, classes) }),
    });
    await model.importTensors([...tensors.values(), ...head.tensors], { allowMissing: onlyTraining, file: dir });
    await model.packForInference();
    return { model, normalize, memory: new PassMemory(engine, model), head };
  });
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
