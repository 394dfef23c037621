// An engine with a tiny model, and work for it whose length is to be had as wished: for tests of what happens meanwhile.
import { createHash } from 'node:crypto';
import { Engine, packSamples, parseHubertConfig } from '../../dist/index.js';
import { generator } from './syntheticRun.js';
import { tinyConfig } from './tinyCorpus.js';

/** `{ engine, model }` with random weights, the same every time. */
export async function makeEngine(options = {}) {
  const engine = Engine.create({ threads: 1, ...options });
  const config = parseHubertConfig(tinyConfig.model, 'the tiny config');
  const model = await engine.createModel({
    config,
    precision: 'fp32',
    classifier: { classes: 3, pooling: 'attention' },
  });
  await model.initialize(1);
  return { engine, model };
}

/** A batch of one utterance of noise. A minute takes some tenths of a second, and attention makes it grow faster than that. */
export function noise(model, seconds, seed = 1) {
  const random = generator(seed);
  const samples = Float32Array.from({ length: Math.round(16000 * seconds) }, () => random() - 0.5);
  return packSamples([samples], model.geometry.stride);
}

const optimizer = { learningRate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.01, clipNorm: 1 };

/** Three updates with dropout, then hidden states: everything that an engine does. Gives the last states and the weights. */
export async function trainAndEncode({ model }, seed = 1) {
  for (let step = 0; step < 3; step++) {
    await model.trainStep(noise(model, 1 + 0.3 * step, seed), {
      objective: 'classification',
      labels: Int32Array.of(step),
      denominator: 1,
      featurePenalty: 0,
      featureGradientScale: 1,
      seed,
      step,
      dropout: true,
    });
    await model.optimizerStep({ ...optimizer, step: step + 1 });
  }
  const { hidden } = await model.encode(noise(model, 2, seed), 'output');
  return { hidden, weights: await model.exportTensors() };
}

/** A digest of that result, the same for the same bits. */
export function digest(result) {
  const hash = createHash('sha256');
  for (const { data } of [{ data: result.hidden }, ...result.weights]) {
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}
