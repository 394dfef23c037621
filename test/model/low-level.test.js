// What the engine offers is used whole through the public interface: nothing here is imported from a module of the package.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  alignmentOptions,
  Engine,
  loadAudio,
  loadPretrained,
  packFeatures,
  packLocally,
  packSamples,
  parseHubertConfig,
  savePretrained,
  splitTensors,
} from '../../dist/index.js';

const test = suite('the engine by its public interface');
const engine = Engine.create({ device: 'cpu', threads: 1 });
const folder = mkdtempSync(join(tmpdir(), 'emoframe-low-level-'));
test.after(() => {
  engine.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const voice = await loadAudio('test/fixtures/audio/voice.wav');
const config = parseHubertConfig({
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  conv_dim: [16, 16, 16, 16, 16, 16, 16],
  num_conv_pos_embeddings: 16,
  num_conv_pos_embedding_groups: 2,
});
const optimizer = { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 0 };
const pass = {
  objective: 'classification',
  labels: Int32Array.of(0, 1),
  denominator: 2,
  featurePenalty: 0,
  featureGradientScale: 0,
  seed: 1,
  dropout: false,
};

test('a classifier is trained on stored features, saved, and loaded as it was', async () => {
  const model = await engine.createModel({ config, precision: 'fp32', classifier: { classes: 2, pooling: 'mean' } });
  await model.initialize(1);
  model.freeze(['feature_extractor']);
  const batch = packSamples([voice, voice.subarray(3200)], model.geometry.stride, { normalize: true });
  await model.storeFeatures(['whole', 'end'], batch);
  const ranges = ['whole', 'end'].map((key) => ({ start: 0, count: model.storedFrames(key) }));
  const losses = [];
  for (let step = 1; step <= 8; step++) {
    losses.push((await model.trainStep(packFeatures(['whole', 'end'], ranges), { ...pass, step })).lossSum);
    await model.optimizerStep({ ...optimizer, step });
  }
  assert.ok(losses.at(-1) < losses[0], losses.join());

  const { encoder, head: tensors } = splitTensors(await model.exportTensors());
  const head = { kind: 'classifier', labels: ['calm', 'angry'], pooling: 'mean', tensors };
  await savePretrained(join(folder, 'model'), { config, tensors: encoder, normalize: true, head });
  const saved = await loadPretrained(join(folder, 'model'));
  const again = await engine.createModel({ config, precision: 'fp32', classifier: { classes: 2, pooling: 'mean' } });
  await again.importTensors([...saved.tensors.values(), ...saved.head.tensors]);
  assert.equal((await again.classify(batch)).logits, (await model.classify(batch)).logits);
});

test('an alignment network is made from its settings and given audio by the statistics of its corpus', async () => {
  const statistics = { waveform: { mean: 0, scale: 10 } };
  const network = { source: 'features', layer: 1, chunkFrames: 50, contextFrames: 10, melBands: 0, width: 8 };
  const settings = { ...network, neutral: 0, halfWidths: [2, 2], dropout: 0, scale: 1, switchingCost: 4, statistics };
  const model = await engine.createModel({ config, precision: 'fp32', alignment: alignmentOptions(settings, 3) });
  await model.initialize(1);
  const { alignment, offsets } = await model.classify(
    packLocally([voice], model.geometry.stride, statistics),
    undefined,
    'alignment',
  );
  assert.is(offsets[1], model.geometry.frames(voice.length));
  assert.is(alignment.frameLogits.length, 3 * offsets[1]);
});

test.run();
