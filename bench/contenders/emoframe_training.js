import { readFile } from 'node:fs/promises';
import { packFeatures, packSamples } from '../../dist/batch/pack.js';
import { loadPretrained } from '../../dist/checkpoint/pretrained.js';
import { Engine } from '../../dist/model/engine.js';
import { readFloat32 } from '../harness/float32.js';
import { serve, timed } from './serve.js';

let engine;
let model;
let utterances;
let batch;
serve({
  load: async ({ model: directory, device, precision, threads, samples: file, lengths, encode }) => {
    const { config, tensors, head } = await loadPretrained(directory);
    const clusters = head.tensors.find(({ name }) => name === 'label_embs_concat').shape[0];
    engine = Engine.create({ device, threads });
    model = await engine.createModel({ config, precision, maskedPrediction: { clusters } });
    await model.importTensors([...tensors.values(), ...head.tensors]);
    model.freeze(['feature_extractor.']);
    const samples = await readFloat32(file);
    let first = 0;
    utterances = lengths.map((length) => {
      const utterance = samples.subarray(first, first + length);
      first += length;
      return utterance;
    });
    const { stride } = model.geometry;
    if (encode) {
      batch = () => packSamples(utterances, stride);
      return {};
    }
    const keys = utterances.map((_, index) => String(index));
    for (const [index, key] of keys.entries())
      await model.storeFeatures([key], packSamples([utterances[index]], stride));
    const ranges = keys.map((key) => ({ start: 0, count: model.storedFrames(key) }));
    batch = () => packFeatures(keys, ranges);
    return {};
  },
  run: async ({ labels: labelFile, mask: maskFile, step, dropout }) => {
    const bytes = await readFile(labelFile);
    const labels = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const mask = new Uint8Array(await readFile(maskFile));
    const masked = mask.reduce((sum, value) => sum + value, 0);
    const { result, times } = await timed(async () => {
      const { lossSum } = await model.trainStep(batch(), {
        objective: 'masked-prediction',
        labels,
        mask,
        denominator: masked,
        featurePenalty: 0,
        featureGradientScale: 1,
        seed: 1,
        step,
        dropout,
      });
      const { gradientNorm } = await model.optimizerStep({
        learningRate: 1e-5,
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-6,
        weightDecay: 0.01,
        clipNorm: 10,
        step: step + 1,
      });
      return { loss: lossSum / masked, gradientNorm };
    });
    return { ...times, ...result };
  },
});
