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
import type { ReadingOptions } from './forms/form.js';
import { classifierOptions } from './head.js';
import { type Head, type StoredPretrained, usePretrained } from './pretrained.js';

/** A model, with what its checkpoint says about its input. */
export interface LoadedHubert {
  model: Model;
  normalize: Normalization;
}

// transformers leaves the mask embedding out of models that are not to be trained with masks.
const onlyTraining = ['masked_spec_embed'];

/** The HuBERT of a checkpoint without its head. Errors: as `loadPretrained` */
export async function loadHubert(engine: Engine, dir: string, precision: Precision): Promise<LoadedHubert> {
  const load = async ({ config, tensors, normalize }: StoredPretrained): Promise<LoadedHubert> => {
    const model = await engine.createModel({ config, precision });
    await model.importTensors(tensors.values(), { allowMissing: onlyTraining, file: dir });
    return { model, normalize };
  };
  return usePretrained(dir, load, { head: 'none' });
}

/** HuBERT with its classifier, its alignment network, or both. Errors: as `loadPretrained`; `ERR_HEAD`: it has neither. */
export async function loadHubertClassifier(
  engine: Engine,
  dir: string,
  precision: Precision,
  options: ReadingOptions = {},
): Promise<LoadedHubert & { head: Head }> {
  const load = async ({ config, tensors, normalize, head, ignored }: StoredPretrained) => {
    if (head?.kind !== 'classifier') throw await noClassifier(dir, head, ignored);
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
  };
  return usePretrained(dir, load, options);
}

async function noClassifier(dir: string, head: Head | undefined, ignored: string[]): Promise<EmoframeError> {
  const folds = await readdir(join(dir, 'folds')).catch(() => []);
  const found = head === undefined ? 'no classifier head' : `a ${head.kind} head, not a classifier`;
  const recogniser = ignored.find((name) => name.startsWith('lm_head.'));
  if (recogniser !== undefined) {
    return new EmoframeError(
      'ERR_HEAD',
      `${dir} has ${found}, but one of speech recognition (${recogniser}). If it was trained to classify, ask for it: --head ctc-mean, or head: 'ctc-mean'.`,
      { file: dir, tensor: recogniser },
    );
  }
  const advice =
    folds.length > 0
      ? `Give the predictor of one fold: ${join(dir, 'folds', folds[0]!, 'predictor')}.`
      : 'Give the predictor folder of a finished run (OUT/folds/FOLD/predictor); emoframe run makes one.';
  return new EmoframeError('ERR_HEAD', `${dir} has ${found}. ${advice}`, { file: dir });
}
