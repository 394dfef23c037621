// HuBERT-base at its real size with random weights, and audio for it.
import { splitTensors } from '../../dist/checkpoint/names.js';
import { savePretrained } from '../../dist/checkpoint/pretrained.js';
import { Engine } from '../../dist/model/engine.js';
import { parseHubertConfig } from '../../dist/model/hubertConfig.js';
import { PhiloxStream } from '../../dist/random/philox.js';

/**
 * Writes a model directory that transformers reads too.
 *
 * @param {{ clusters?: number, labels?: string[], config?: object }} options clusters of a masked-prediction head or labels of a
 *   classifier of mean frames, if it shall have one, and what differs from the defaults of `config.json`
 */
export async function saveBaseModel(directory, seed, { clusters, labels, config: changes } = {}) {
  const engine = Engine.create();
  try {
    const config = parseHubertConfig({ model_type: 'hubert', ...changes });
    const model = await engine.createModel({
      config,
      precision: 'fp32',
      ...(clusters && { maskedPrediction: { clusters } }),
      ...(labels && { classifier: { classes: labels.length, pooling: 'mean' } }),
    });
    await model.initialize(seed);
    const { encoder, head } = splitTensors(await model.exportTensors());
    await savePretrained(directory, {
      config,
      tensors: encoder,
      normalize: true,
      ...(clusters && { head: { kind: 'masked-prediction', labels: [], tensors: head } }),
      ...(labels && { head: { kind: 'classifier', labels, pooling: 'mean', tensors: head } }),
    });
  } finally {
    engine.dispose();
  }
}

// Apart from the streams of the package.
const site = 0x60000000;

/** Noise of zero mean and unit variance, a pure function of its arguments: 16 kHz, f32. */
export function noise(samples, seed, index) {
  const stream = new PhiloxStream(seed, index, site);
  return Float32Array.from({ length: samples }, () => Math.sqrt(12) * (stream.uniform() - 0.5));
}
