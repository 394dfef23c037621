// NaN and infinities are caught where they appear, and named.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkFinite } from '../../dist/checkpoint/finite.js';
import { readHead, writeHead } from '../../dist/checkpoint/head.js';
import {
  Engine,
  loadPretrained,
  packFeatures,
  packSamples,
  parseConfig,
  readCorpus,
  savePretrained,
  Trainer,
  writeSafetensors,
} from '../../dist/index.js';
import { readCentroids } from '../../dist/stages/clustering.js';
import { openLatestStep } from '../../dist/training/savedSteps.js';
import { openTrainingState, saveTrainingState } from '../../dist/training/trainingState.js';
import { FIXTURES, loadModel, pack, readData, stepOptions } from '../support/parity.js';
import { refused } from '../support/refused.js';
import { readAll, storedForm } from '../support/storedTensors.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';
import { longestTurn } from '../support/turns.js';

const engine = Engine.create({ threads: 1 });
test.after(() => engine.dispose());
let scratch;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-not-finite-'));
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

const { utterances, mask, clusters, classes } = await readData();
const base = await loadPretrained(join(FIXTURES, 'base'));
const weight = 'encoder.layers.0.attention.out_proj.weight';

/** The base model's tensors with values of one replaced. */
function spoiled(name, values) {
  return [...base.tensors.values()].map((tensor) => {
    if (tensor.name !== name) return tensor;
    const data = tensor.data.slice();
    for (const [index, value] of Object.entries(values)) data[index] = value;
    return { ...tensor, data };
  });
}

test('a weight that is NaN is named with its file, tensor, number and first place', async () => {
  await savePretrained(scratch, { config: base.config, tensors: base.tensors, normalize: false });
  await writeSafetensors(join(scratch, 'model.safetensors'), spoiled(weight, { 5: NaN, 9: Infinity }));
  const error = await refused(
    loadPretrained(scratch),
    'ERR_NOT_FINITE',
    /out_proj\.weight of .*model\.safetensors has 2 values that are not finite numbers, the first \(NaN\) at index 5\.$/,
  );
  assert.is(error.tensor, weight);
  assert.is(error.file, join(scratch, 'model.safetensors'));
});

test('a float64 weight beyond float32 is caught as the infinity that it becomes', async () => {
  await savePretrained(scratch, { config: base.config, tensors: base.tensors, normalize: false });
  const file = join(scratch, 'model.safetensors');
  const size = base.config.shape.hiddenSize;
  const header = JSON.stringify({
    'encoder.layer_norm.bias': { dtype: 'F64', shape: [size], data_offsets: [0, 8 * size] },
  });
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(header.length));
  const values = new Float64Array(size);
  values[3] = -1e300;
  writeFileSync(file, Buffer.concat([prefix, Buffer.from(header), Buffer.from(values.buffer)]));
  await refused(loadPretrained(scratch), 'ERR_NOT_FINITE', /layer_norm\.bias .* the first \(-Infinity\) at index 3/);
});

test('a head and centroids with NaN are not taken', async () => {
  const head = { name: 'classifier.weight', shape: [2, 2], data: Float32Array.of(1, 2, NaN, 4) };
  await writeHead(scratch, { kind: 'classifier', labels: ['a', 'b'], tensors: [head] });
  await refused(readHead(scratch), 'ERR_NOT_FINITE', /classifier\.weight .* at index 2/);
  const file = join(scratch, 'centroids.safetensors');
  const data = Float32Array.of(0, 0, 0, -Infinity);
  await writeSafetensors(file, [{ name: 'centroids', shape: [2, 2], data }], { layer: '1' });
  await refused(readCentroids(file), 'ERR_NOT_FINITE', /centroids of .*centroids\.safetensors .* at index 3/);
});

test('a model or a checkpoint with NaN is not written over a sound one', async () => {
  const directory = join(scratch, 'checkpoint');
  const checkpoint = { tensors: [...base.tensors.values()], moments: [], state: { step: 3 } };
  await saveTrainingState(directory, storedForm(checkpoint));
  const bad = { ...checkpoint, tensors: spoiled(weight, { 0: NaN }), state: { step: 4 } };
  await refused(
    saveTrainingState(directory, storedForm(bad)),
    'ERR_NOT_FINITE',
    /out_proj\.weight of the model in training/,
  );
  assert.equal((await readAll(await openTrainingState(directory))).state, { step: 3 });
  const model = { config: base.config, tensors: bad.tensors, normalize: false };
  await refused(
    savePretrained(join(scratch, 'model'), model),
    'ERR_NOT_FINITE',
    /out_proj\.weight of the model to save/,
  );
  assert.is(existsSync(join(scratch, 'model')), false);
});

test('hidden states and class probabilities that are not finite name the utterance and the frame', async () => {
  const model = await loadModel(engine, 'base', { objective: 'mean' });
  // Finite in itself; what it makes is not.
  await model.importTensors(spoiled('encoder.layer_norm.weight', { 0: 3e38, 1: 3e38 }), { allowMissing: true });
  const batch = packSamples(utterances, model.geometry.stride, {
    names: ['first.wav', 'second.wav', 'third.wav'],
  });
  await refused(
    model.encode(batch, 'output'),
    'ERR_NOT_FINITE',
    /^Utterance first\.wav gives a hidden state at frame 0 /,
  );
  await refused(model.classify(batch), 'ERR_NOT_FINITE', /^Utterance first\.wav gives class probabilities at frame 0 /);
  model.dispose();
});

test('features that are not finite are not stored', async () => {
  const model = await loadModel(engine, 'base');
  await model.importTensors(spoiled('feature_extractor.conv_layers.3.conv.weight', { 0: 3e38, 1: -3e38 }));
  const batch = packSamples(utterances, model.geometry.stride);
  const keys = ['one', 'two', 'three'];
  await refused(
    model.storeFeatures(keys, batch),
    'ERR_NOT_FINITE',
    /^Utterance one gives features of the convolutions/,
  );
  assert.is(model.storedFrames('one'), -1);
  model.dispose();
});

test('a loss that is not finite names the utterance, and the gradients are cleared', async () => {
  const model = await loadModel(engine, 'base', { objective: 'mean' });
  model.freeze(['feature_extractor.']);
  const keys = ['one', 'two', 'three'];
  await model.storeFeatures(keys, packSamples(utterances, model.geometry.stride));
  // Alone: others, of the feature encoder, would make the stored features void.
  const norm = spoiled('encoder.layer_norm.weight', { 0: 3e38, 1: 3e38 });
  await model.importTensors([norm.find(({ name }) => name === 'encoder.layer_norm.weight')], { allowMissing: true });
  const ranges = keys.map((key) => ({ start: 0, count: model.storedFrames(key) }));
  const step = stepOptions('mean', classes);
  await refused(
    model.trainStep(packFeatures(keys, ranges), step),
    'ERR_NOT_FINITE',
    /The loss .*: Utterance one is the first/,
  );
  assert.ok((await model.exportGradients()).every(({ data }) => data.every((value) => value === 0)));
  model.dispose();
});

test('a gradient that is not finite is named', async () => {
  const model = await loadModel(engine, 'base', { objective: 'masked-prediction' });
  // The logits stay cosines, whatever their length; what flows back through the small layer does not.
  const options = { ...stepOptions('masked-prediction', clusters, mask), denominator: 1e-38 };
  await model.trainStep(pack(model, utterances), options);
  const settings = { learningRate: 1, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0, clipNorm: 0, step: 1 };
  await refused(
    model.optimizerStep(settings),
    'ERR_NOT_FINITE',
    /gradient norm is not finite, first that of [a-z_.0-9]+,/,
  );
  model.dispose();
});

test('a run that breaks keeps its last training state and says where it broke and what to do', async () => {
  const corpus = await readCorpus(writeTinyCorpus(join(scratch, 'corpus')));
  const optimizer = { learningRate: 1e30, clipNorm: 0 };
  const finetune = { ...tinyConfig.finetune, schedule: 'constant', warmupUpdates: 0, optimizer };
  const config = parseConfig({ ...tinyConfig, finetune, checkpoint: { everyUpdates: 1 } });
  const out = join(scratch, 'run');
  const trainer = await Trainer.open({ corpus, out, config, threads: 1 });
  const { message } = await refused(
    trainer.run(),
    'ERR_NOT_FINITE',
    /Update \d+ of finetune: .*lower finetune\.optimizer\.learningRate/,
  ).finally(() => trainer[Symbol.asyncDispose]());
  const saved = Number(/The training state of update (\d+) is intact/.exec(message)[1]);
  const [fold] = readdirSync(join(out, 'folds'));
  const { step, tensors } = await readAll(
    await openLatestStep(join(out, 'folds', fold, 'finetune', 'checkpoint'), assert.unreachable),
  );
  assert.is(step, saved);
  assert.ok(tensors.every(({ data }) => data.every(Number.isFinite)));
});

test('all values of a large tensor that are not finite are counted, and the event loop stays free', async () => {
  const data = new Float32Array(8_000_000);
  for (const at of [70_000, 70_001, 7_999_999]) data[at] = Number.POSITIVE_INFINITY;
  const turn = await longestTurn(() =>
    refused(
      checkFinite([{ name: 'w', shape: [data.length], data }], 'a model'),
      'ERR_NOT_FINITE',
      /Tensor w of a model has 3 values that are not finite numbers, the first \(Infinity\) at index 70000\./,
    ),
  );
  assert.ok(turn < 30, `${turn} ms`);
});

test.run();
