// The tiny models of scripts/oracle/model.py and how they are compared.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { loadPretrained, packSamples, readSafetensors } from '../../dist/index.js';

export const FIXTURES = fileURLToPath(new URL('../fixtures/model', import.meta.url));
export const FORMS = ['base', 'large'];
export const POOLINGS = ['mean', 'attention', 'attention-linear', 'stats'];
export const CLUSTERS = 7;
export const DIMENSION = 24;
export const CLASSES = 4;

export async function readTensors(name) {
  return (await readSafetensors(join(FIXTURES, `${name}.safetensors`))).tensors;
}

/** The three utterances, the mask and labels over their frames laid end to end, and a class each. */
export async function readData() {
  const tensors = await readTensors('utterances');
  const utterances = [0, 1, 2].map((index) => tensors.get(`utterance.${index}`).data);
  return {
    utterances,
    mask: Uint8Array.from(tensors.get('mask').data),
    clusters: Int32Array.from(tensors.get('clusters').data),
    classes: Int32Array.from(tensors.get('classes').data),
  };
}

/** A model with the oracle's weights. `objective`: `masked-prediction`, a pooling, or absent for no head. */
export async function loadModel(engine, form, { precision = 'fp32', objective } = {}) {
  const { config, tensors } = await loadPretrained(join(FIXTURES, form));
  const spec = { config, precision };
  const prefix = objective === 'masked-prediction' ? '' : `${objective}/`;
  if (objective === 'masked-prediction') spec.maskedPrediction = { clusters: CLUSTERS, dimension: DIMENSION };
  else if (objective !== undefined) spec.classifier = { classes: CLASSES, pooling: objective };
  const model = await engine.createModel(spec);
  const own = new Set(model.tensors().map(({ name }) => name));
  const heads = [...(await readTensors(`${form}.heads`)).values()]
    .filter(({ name }) => objective !== undefined && name.startsWith(prefix))
    .map((tensor) => ({ ...tensor, name: tensor.name.slice(prefix.length) }))
    .filter(({ name }) => own.has(name));
  await model.importTensors([...tensors.values(), ...heads]);
  return model;
}

export function pack(model, utterances) {
  return packSamples(utterances, model.geometry.stride);
}

/** Options of a training step with dropout off. */
export function stepOptions(objective, labels, mask, denominator) {
  const masked = objective === 'masked-prediction';
  return {
    objective: masked ? 'masked-prediction' : 'classification',
    labels,
    ...(mask && { mask }),
    denominator: denominator ?? (masked ? mask.reduce((sum, value) => sum + (value !== 0), 0) : labels.length),
    featurePenalty: masked ? 10 : 0,
    featureGradientScale: masked ? 0.1 : 1,
    seed: 1,
    step: 0,
    dropout: false,
  };
}

/** ||found - expected|| / ||expected||. */
export function relativeError(found, expected) {
  assert.is(found.length, expected.length);
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (found[i] - expected[i]) ** 2;
    size += expected[i] ** 2;
  }
  return Math.sqrt(difference / size);
}

export function norm(values) {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

/** Fails with every tensor that is off, worst first. `errors`: [name, error][]. */
export function assertAllBelow(errors, limit, what) {
  const off = errors.filter(([, error]) => !(error < limit)).sort((a, b) => b[1] - a[1]);
  const list = off.map(([name, error]) => `${name} ${error.toExponential(1)}`).join(', ');
  assert.ok(
    errors.length > 0 && off.length === 0,
    `${what}: ${off.length} of ${errors.length} are off by ${limit} or more: ${list}`,
  );
}
