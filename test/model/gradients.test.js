import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine } from '../../dist/index.js';
import {
  assertAllBelow,
  FORMS,
  loadModel,
  norm,
  POOLINGS,
  pack,
  readData,
  readTensors,
  relativeError,
  stepOptions,
} from '../support/parity.js';

const test = suite('gradients');
const engine = Engine.create({ device: 'cpu', threads: 2 });
test.after(() => engine.dispose());
const { utterances, mask, clusters, classes } = await readData();
const OBJECTIVES = ['masked-prediction', ...POOLINGS];

/** What the oracle trained with: a mask for masked prediction and for the published pooling. */
function optionsFor(objective) {
  if (objective === 'masked-prediction') return stepOptions(objective, clusters, mask);
  return stepOptions(objective, classes, objective === 'attention' ? mask : undefined);
}

/** Error of every gradient; one that is zero in truth is measured against the whole gradient. */
async function gradientErrors(model, golden) {
  const gradients = await model.exportGradients();
  const names = new Set([...golden.keys()].filter((name) => name !== 'loss'));
  const whole = Math.sqrt([...names].reduce((sum, name) => sum + norm(golden.get(name).data) ** 2, 0));
  const errors = gradients.map(({ name, shape, data }) => {
    assert.ok(names.delete(name), `${name} is not a parameter in PyTorch`);
    const expected = golden.get(name);
    assert.equal(shape, expected.shape, name);
    const size = norm(expected.data);
    // A key bias shifts all scores of a row alike, so that its gradient is rounding only.
    if (name.endsWith('k_proj.bias') || size === 0) {
      return [name, norm(data.map((value, i) => value - expected.data[i])) / whole];
    }
    return [name, relativeError(data, expected.data)];
  });
  assert.equal([...names], [], 'parameters without a gradient');
  return errors;
}

for (const form of FORMS) {
  for (const objective of OBJECTIVES) {
    test(`${form}, ${objective}: loss and the gradient of every parameter are PyTorch's`, async () => {
      const golden = await readTensors(`${form}.${objective}`);
      const model = await loadModel(engine, form, { objective });
      const options = optionsFor(objective);
      const result = await model.trainStep(pack(model, utterances), options);
      const loss = result.lossSum / options.denominator + options.featurePenalty * result.featurePenalty;
      const expected = golden.get('loss').data[0];
      assert.ok(Math.abs(loss - expected) < 1e-5 * expected, `loss ${loss}, expected ${expected}`);
      assert.is(result.count, options.denominator);
      assertAllBelow(await gradientErrors(model, golden), 2e-4, 'gradients');
      model.dispose();
    });
  }

  test(`${form}: in bf16 the gradient points where PyTorch's does`, async () => {
    for (const objective of ['masked-prediction', 'attention']) {
      const golden = await readTensors(`${form}.${objective}`);
      const model = await loadModel(engine, form, { objective, precision: 'bf16' });
      await model.trainStep(pack(model, utterances), optionsFor(objective));
      let dot = 0;
      let own = 0;
      let theirs = 0;
      for (const { name, data } of await model.exportGradients()) {
        data.forEach((value, i) => {
          const expected = golden.get(name).data[i];
          dot += value * expected;
          own += value ** 2;
          theirs += expected ** 2;
        });
      }
      const cosine = dot / Math.sqrt(own * theirs);
      assert.ok(cosine > 0.999, `${objective}: cosine ${cosine}`);
      assert.ok(
        Math.abs(Math.sqrt(own / theirs) - 1) < 0.02,
        `${objective}: norm ${Math.sqrt(own / theirs)} of PyTorch's`,
      );
      model.dispose();
    }
  });

  test(`${form}: micro-batches of one update add up to the gradient of the whole`, async () => {
    const golden = await readTensors(`${form}.mean`);
    const model = await loadModel(engine, form, { objective: 'mean' });
    for (const members of [[1], [2, 0]]) {
      const labels = Int32Array.from(members, (index) => classes[index]);
      const batch = pack(
        model,
        members.map((index) => utterances[index]),
      );
      await model.trainStep(batch, stepOptions('mean', labels, undefined, 3));
    }
    assertAllBelow(await gradientErrors(model, golden), 2e-4, 'gradients');
    await model.clearGradients();
    for (const { name, data } of await model.exportGradients()) assert.is(norm(data), 0, name);
    model.dispose();
  });

  test(`${form}: the same step gives the same bits with any number of threads, dropout included; another seed gives others`, async () => {
    const objective = 'masked-prediction';
    const run = async (seed, step, on = engine) => {
      const model = await loadModel(on, form, { objective });
      const config = { ...model.config, shape: { ...model.config.shape, hiddenDropout: 0.1, attentionDropout: 0.1 } };
      model.dispose();
      const dropping = await on.createModel({ ...model.spec, config });
      await dropping.initialize(3);
      await dropping.trainStep(pack(dropping, utterances), { ...optionsFor(objective), dropout: true, seed, step });
      const gradients = await dropping.exportGradients();
      dropping.dispose();
      return Buffer.concat(gradients.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)));
    };
    const first = await run(1, 0);
    assert.ok(first.equals(await run(1, 0)));
    const single = Engine.create({ device: 'cpu', threads: 1 });
    assert.ok(first.equals(await run(1, 0, single)), 'one thread and two');
    single.dispose();
    assert.not(first.equals(await run(2, 0)));
    assert.not(first.equals(await run(1, 1)));
  });

  test(`${form}: frozen tensors get no gradient and the others get the same`, async () => {
    const golden = await readTensors(`${form}.attention`);
    const model = await loadModel(engine, form, { objective: 'attention' });
    model.freeze(['feature_extractor.', 'encoder.layers.0.']);
    await model.trainStep(pack(model, utterances), optionsFor('attention'));
    const errors = [];
    for (const { name, data } of await model.exportGradients()) {
      if (name.startsWith('feature_extractor.') || name.startsWith('encoder.layers.0.')) assert.is(norm(data), 0, name);
      else if (!name.endsWith('k_proj.bias')) errors.push([name, relativeError(data, golden.get(name).data)]);
    }
    assertAllBelow(errors, 2e-4, 'gradients');
    model.dispose();
  });
}

test.run();
