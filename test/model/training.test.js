import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine } from '../../dist/index.js';
import { MemberStart } from '../../dist/stages/members.js';
import {
  assertAllBelow,
  FIXTURES,
  FORMS,
  loadModel,
  norm,
  pack,
  readData,
  readTensors,
  stepOptions,
} from '../support/parity.js';
import { readMoments, storedForm } from '../support/storedTensors.js';

const test = suite('training');
const engine = Engine.create({ device: 'cpu', threads: 1 });
test.after(() => engine.dispose());
const { utterances, mask, clusters, classes } = await readData();
// The settings of scripts/oracle/optimiser.py and curve.py.
const CLIPPED = { learningRate: 2e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.01, clipNorm: 1 };
const SETTINGS = {
  'masked-prediction': { learningRate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.01, clipNorm: 0 },
  attention: { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-5, clipNorm: 0 },
};
const { batches, curves } = JSON.parse(await readFile(join(FIXTURES, 'curves.json'), 'utf8'));
const masks = await readTensors('curve');

async function takeSteps(model, count, first = 1) {
  const norms = [];
  for (let step = first; step < first + count; step++) {
    await model.trainStep(pack(model, utterances), stepOptions('masked-prediction', clusters, mask));
    norms.push((await model.optimizerStep({ ...CLIPPED, step })).gradientNorm);
  }
  return norms;
}

const bytes = (tensors, field) =>
  Buffer.concat(
    tensors.map((tensor) => Buffer.from(tensor[field].buffer, tensor[field].byteOffset, tensor[field].byteLength)),
  );

for (const form of FORMS) {
  test(`${form}: five clipped AdamW steps move every weight as PyTorch does`, async () => {
    const golden = await readTensors(`${form}.optimiser`);
    const model = await loadModel(engine, form, { objective: 'masked-prediction' });
    const before = new Map((await model.exportTensors()).map(({ name, data }) => [name, data]));
    const norms = await takeSteps(model, 5);
    golden.get('norms').data.forEach((expected, step) => {
      assert.ok(
        Math.abs(norms[step] - expected) < 1e-3 * expected,
        `norm of step ${step}: ${norms[step]}, expected ${expected}`,
      );
    });
    const errors = [];
    for (const { name, data } of await model.exportTensors()) {
      if (name.endsWith('k_proj.bias')) continue; // moved by rounding alone
      const expected = golden.get(name).data;
      const start = before.get(name);
      const difference = norm(data.map((value, i) => value - expected[i]));
      errors.push([name, difference / norm(expected.map((value, i) => value - start[i]))]);
    }
    assert.is(errors.length, golden.size - 1 - model.config.shape.layers);
    assertAllBelow(errors, 1e-3, 'movement');
    model.dispose();
  });

  for (const objective of Object.keys(SETTINGS)) {
    const train = async (precision) => {
      const model = await loadModel(engine, form, { objective, precision });
      const stride = model.geometry;
      const frames = utterances.map((samples) => stride.frames(samples.length));
      const starts = frames.map((_, index) => frames.slice(0, index).reduce((sum, count) => sum + count, 0));
      const losses = [];
      for (let step = 0; step < 20; step++) {
        const chosen = batches[step % batches.length];
        const labels =
          objective === 'masked-prediction'
            ? Int32Array.from(chosen.flatMap((i) => [...clusters.subarray(starts[i], starts[i] + frames[i])]))
            : Int32Array.from(chosen, (i) => classes[i]);
        const options = stepOptions(objective, labels, Uint8Array.from(masks.get(`masks.${step}`).data));
        const batch = pack(
          model,
          chosen.map((i) => utterances[i]),
        );
        const result = await model.trainStep(batch, options);
        losses.push(result.lossSum / options.denominator + options.featurePenalty * result.featurePenalty);
        await model.optimizerStep({ ...SETTINGS[objective], step: step + 1 });
      }
      model.dispose();
      return losses.map((loss, step) => [`step ${step}`, Math.abs(loss / curves[form][objective][step] - 1)]);
    };

    test(`${form}, ${objective}: twenty steps follow PyTorch's losses`, async () => {
      assertAllBelow(await train('fp32'), 5e-5, 'loss');
    });

    test(`${form}, ${objective}: in bf16 too, within 5 %`, async () => {
      assertAllBelow(await train('bf16'), 5e-2, 'loss');
    });
  }

  test(`${form}: weights and moments that are exported and imported go on to the same bits`, async () => {
    const model = await loadModel(engine, form, { objective: 'masked-prediction' });
    assert.equal(await model.storedMoments(), []);
    await takeSteps(model, 2);
    const tensors = await model.exportTensors();
    const moments = await readMoments(await model.storedMoments());
    await takeSteps(model, 2, 3);
    const straight = await model.exportTensors();
    model.dispose();

    const resumed = await loadModel(engine, form, { objective: 'masked-prediction' });
    await resumed.importTensors(tensors);
    assert.ok(
      bytes(await resumed.exportTensors(), 'data').equals(bytes(tensors, 'data')),
      'weights come back as they went',
    );
    await resumed.importMoments(storedForm({ tensors: [], moments }).moments);
    const back = await readMoments(await resumed.storedMoments());
    assert.ok(bytes(back, 'm').equals(bytes(moments, 'm')) && bytes(back, 'v').equals(bytes(moments, 'v')));
    await takeSteps(resumed, 2, 3);
    assert.ok(bytes(await resumed.exportTensors(), 'data').equals(bytes(straight, 'data')));
    resumed.dispose();
  });

  test(`${form}: a frozen tensor does not move`, async () => {
    const model = await loadModel(engine, form, { objective: 'masked-prediction' });
    const before = await model.exportTensors();
    model.freeze(['feature_extractor.', 'encoder.layer_norm.']);
    await takeSteps(model, 1);
    const after = await model.exportTensors();
    before.forEach(({ name, data }, index) => {
      const frozen = name.startsWith('feature_extractor.') || name.startsWith('encoder.layer_norm.');
      const moved = !bytes([{ data }], 'data').equals(bytes([after[index]], 'data'));
      assert.is(moved, !frozen, name);
    });
    model.dispose();
  });
}

test('a CPU does steps one operation after another, whatever is said of graphs', async () => {
  const gradients = [];
  for (const graphs of [true, false]) {
    const one = Engine.create({ threads: 1, graphs });
    const model = await loadModel(one, 'base', { objective: 'masked-prediction' });
    for (let i = 0; i < 3; i++)
      await model.trainStep(pack(model, utterances), stepOptions('masked-prediction', clusters, mask));
    gradients.push(await model.exportGradients());
    assert.equal(await one.graphs(), { replayed: 0, made: 0, plain: 0 });
    one.dispose();
  }
  assert.equal(gradients[0], gradients[1]);
  assert.throws(
    () => Engine.create({ graphs: 'no' }),
    (error) => error.code === 'ERR_ARGUMENT' && /graphs/.test(error.message),
  );
});

test('a member begins where the first one did, moments included, and features that are stored stay', async () => {
  const model = await loadModel(engine, 'base', { objective: 'attention' });
  const frozen = ['feature_extractor.'];
  model.freeze(frozen);
  const batch = pack(model, utterances);
  await model.storeFeatures(
    utterances.map((_, i) => `u${i}`),
    batch,
  );
  const start = await MemberStart.of(model, frozen);
  const train = async () => {
    for (const step of [1, 2]) {
      await model.trainStep(batch, stepOptions('attention', classes, mask));
      await model.optimizerStep({ ...SETTINGS.attention, step });
    }
    return bytes(await model.exportTensors(), 'data');
  };
  const first = await train();
  await train();
  await start.restore();
  assert.ok(model.storedFrames('u0') > 0);
  assert.equal(await train(), first);
});

test.run();
