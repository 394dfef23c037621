// Models on an engine from a checkpoint of any kind, for training and for prediction.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Normalization } from '../audio/normalize.js';
import { EmoframeError } from '../errors.js';
import { given } from '../given.js';
import { alignmentOptions } from '../model/alignment.js';
import type { Precision } from '../model/binding.js';
import type { Engine } from '../model/engine.js';
import type { Model } from '../model/model.js';
import { classifierOptions } from './head.js';
import { type Head, usePretrained } from './pretrained.js';

/** A model, with what its checkpoint says about its input. */
export interface LoadedHubert {
  model: Model;
  normalize: Normalization;
}

// transformers leaves the mask embedding out of models that are not to be trained with masks.
const onlyTraining = ['masked_spec_embed'];

/** The HuBERT of a checkpoint without its head. Errors: as `loadPretrained` */
export async function loadHubert(engine: Engine, dir: string, precision: Precision): Promise<LoadedHubert> {
  return usePretrained(dir, async ({ config, tensors, normalize }) => {
    const model = await engine.createModel({ config, precision });
    await model.importTensors(tensors.values(), { allowMissing: onlyTraining, file: dir });
    return { model, normalize };
  });
}

/** HuBERT with its classifier, its alignment network, or both. Errors: as `loadPretrained`; `ERR_HEAD`: it has neither. */
export async function loadHubertClassifier(
  engine: Engine,
  dir: string,
  precision: Precision,
): Promise<LoadedHubert & { head: Head }> {
  return usePretrained(dir, async ({ config, tensors, normalize, head }) => {
    if (head?.kind !== 'classifier') throw await noClassifier(dir, head);
    const classes = head.labels.length;
    const classifier = classifierOptions(head);
    const model = await engine.createModel({
      config,
      precision,
      ...given({ classifier }),
      ...(head.alignment !== undefined && { alignment: alignmentOptions(head.alignment, classes) }),
    });
    await model.importTensors([...tensors.values(), ...head.tensors], { allowMissing: onlyTraining, file: dir });
    return { model, normalize, head };
  });
}

async function noClassifier(dir: string, head: Head | undefined): Promise<EmoframeError> {
  const folds = await readdir(join(dir, 'folds')).catch(() => []);
  const found = head === undefined ? 'no classifier head' : `a ${head.kind} head, not a classifier`;
  const advice =
    folds.length > 0
      ? `Give the predictor of one fold: ${join(dir, 'folds', folds[0]!, 'predictor')}.`
      : 'Give the predictor folder of a finished run (OUT/folds/FOLD/predictor); emoframe run makes one.';
  return new EmoframeError('ERR_HEAD', `${dir} has ${found}. ${advice}`, { file: dir });
}
