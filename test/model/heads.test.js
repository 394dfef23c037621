// Heads of every form, beside a plain computation in float64 from the hidden states that the model itself gives.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine } from '../../dist/index.js';
import { FORMS, loadModel, pack, readData, relativeError, stepOptions } from '../support/parity.js';

const test = suite('heads');
const engine = Engine.create({ device: 'cpu', threads: 2 });
test.after(() => engine.dispose());
const { utterances, classes } = await readData();
const poolings = ['mean', 'sum', 'max', 'attention', 'attention-linear', 'stats', 'attentive-stats'];
const outputs = 3;

// ——— The reference: rows of numbers, an array each.

const range = (count) => Array.from({ length: count }, (_, i) => i);
const sum = (values) => values.reduce((total, value) => total + value, 0);
const dot = (a, b) => sum(a.map((value, i) => value * b[i]));
const columns = (rows, of) => rows[0].map((_, c) => of(rows.map((row) => row[c])));
const softmax = (values) => {
  const largest = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - largest));
  const total = sum(powers);
  return powers.map((value) => value / total);
};
const normed = (values) => {
  const mean = sum(values) / values.length;
  const variance = sum(values.map((value) => (value - mean) ** 2)) / values.length;
  return values.map((value) => (value - mean) / Math.sqrt(variance + 1e-5));
};

/** Tensors by name as rows of numbers, one for a vector. */
async function readWeights(model) {
  const tensors = await model.exportTensors();
  return new Map(
    tensors.map(({ name, shape, data }) => {
      const width = shape.at(-1);
      return [name, range(data.length / width).map((r) => Array.from(data.subarray(r * width, (r + 1) * width)))];
    }),
  );
}

function linear(weights, name, x) {
  const bias = weights.get(`${name}.bias`)?.[0];
  return weights.get(`${name}.weight`).map((row, i) => dot(row, x) + (bias?.[i] ?? 0));
}

function pool(weights, pooling, frames) {
  const w = weights.get('pooling.weight')?.[0];
  const score = {
    attention: (h) => Math.tanh(dot(h, w)),
    'attention-linear': (h) => dot(h, w),
    stats: (h) => Math.max(dot(h, w), 0),
    'attentive-stats': (h) => dot(linear(weights, 'pooling.linear', h).map(Math.tanh), w),
  }[pooling];
  if (pooling === 'sum') return columns(frames, sum);
  if (pooling === 'max') return columns(frames, (values) => Math.max(...values));
  const a = softmax(frames.map(score ?? (() => 0)));
  const mean = columns(frames, (values) => dot(values, a));
  if (!pooling.endsWith('stats')) return mean;
  const variances = columns(frames, (values) => values).map((values, c) =>
    dot(
      values.map((v) => (v - mean[c]) ** 2),
      a,
    ),
  );
  const deviations = variances.map((v) => Math.sqrt(pooling === 'stats' ? v + 1e-5 : Math.max(v, 1e-5)));
  return [...mean, ...deviations];
}

function afterPooling(weights, { dense = [] }, pooled) {
  let x = pooled;
  for (const [i, { norm, activation }] of dense.entries()) {
    x = linear(weights, `dense.${i}`, x);
    if (norm) {
      const [gamma] = weights.get(`dense.${i}.norm.weight`);
      const [beta] = weights.get(`dense.${i}.norm.bias`);
      x = normed(x).map((value, c) => value * gamma[c] + beta[c]);
    }
    x = x.map({ none: (value) => value, tanh: Math.tanh, relu: (value) => Math.max(value, 0) }[activation]);
  }
  return linear(weights, 'classifier', x);
}

/** What a head reads of each utterance: rows of the model's output, or of the sum of its states. */
async function readSource(model, weights, { source }, batch) {
  const { layers } = model.config.shape;
  const depths = source === 'layers' ? [...range(layers), 'output'] : ['output'];
  const shares = source === 'layers' ? softmax(weights.get('layer_weights')[0]) : [1];
  const states = [];
  for (const depth of depths) states.push(await model.encode(batch, depth));
  const { offsets } = states[0];
  const width = model.config.shape.hiddenSize;
  const frame = (t) => range(width).map((c) => sum(states.map(({ hidden }, l) => shares[l] * hidden[t * width + c])));
  return range(offsets.length - 1).map((b) => range(offsets[b + 1] - offsets[b]).map((t) => frame(offsets[b] + t)));
}

/** Frames as they are pooled. */
function readFrames(weights, { inputNorm, projector }, rows) {
  let frames = rows;
  if (inputNorm === 'frame') frames = frames.map(normed);
  if (inputNorm === 'utterance') {
    const all = normed(frames.flat());
    frames = frames.map((row, t) => row.map((_, c) => all[t * row.length + c]));
  }
  return projector === undefined ? frames : frames.map((frame) => linear(weights, 'projector', frame));
}

/** Outputs for frame `t`, by the window around the nearest of every `hop` frames, of two the earlier. */
function ofWindow(weights, options, frames, t) {
  const { window, hop } = options.frames;
  const centres = range(frames.length).filter((centre) => centre % hop === 0);
  const centre = centres.reduce((best, other) => (Math.abs(other - t) < Math.abs(best - t) ? other : best));
  const first = centre - Math.floor(window / 2);
  const inWindow = frames.slice(Math.max(first, 0), first + window);
  return afterPooling(weights, options, pool(weights, options.pooling, inWindow));
}

/** Outputs for a frame by the head's linear layers alone, beside the deviations of its utterance. */
function ofFrame(weights, frame, pooled) {
  return linear(weights, 'classifier', [...frame, ...pooled.slice(frame.length)]);
}

async function reference(model, options, batch) {
  const weights = await readWeights(model);
  const results = { logits: [], pooled: [], frames: [] };
  for (const rows of await readSource(model, weights, options, batch)) {
    const frames = readFrames(weights, options, rows);
    const pooled = pool(weights, options.pooling, frames);
    results.pooled.push(...pooled);
    results.logits.push(...afterPooling(weights, options, pooled));
    const ofFrames = frames.map((frame, t) =>
      options.frames ? ofWindow(weights, options, frames, t) : ofFrame(weights, frame, pooled),
    );
    results.frames.push(...(options.task === 'regression' ? ofFrames : ofFrames.map(softmax)).flat());
  }
  return results;
}

// ——— The model.

/** The oracle's tiny HuBERT of a form, beneath a head of random weights. */
async function headModel(form, options) {
  const bare = await loadModel(engine, form);
  const model = await engine.createModel({ ...bare.spec, classifier: { classes: outputs, ...options } });
  await model.initialize(3);
  const uneven = model.tensors().filter(({ name }) => /^layer_weights$|norm\.(weight|bias)$/.test(name));
  await model.importTensors(
    uneven
      .filter(({ name }) => /^(layer_weights|dense)/.test(name))
      .map((info) => ({ ...info, data: Float32Array.from(range(info.shape[0]), (i) => Math.sin(3 * i + 1)) })),
    { allowMissing: true },
  );
  await model.importTensors(await bare.exportTensors(), { allowMissing: true });
  bare.dispose();
  return model;
}

async function assertAsReference(model, options) {
  const batch = pack(model, utterances);
  const expected = await reference(model, options, batch);
  const found = await model.classify(batch);
  for (const [name, values] of Object.entries({
    logits: found.logits,
    pooled: found.pooled,
    frames: found.framePosteriors,
  })) {
    const error = relativeError(values, expected[name]);
    assert.ok(error < 1e-5, `${JSON.stringify(options)}: ${name} are off by ${error}`);
  }
}

for (const form of FORMS) {
  test(`${form}: every pooling gives utterances and frames what it says, before a linear output`, async () => {
    for (const pooling of poolings) {
      const options = { pooling };
      const model = await headModel(form, options);
      await assertAsReference(model, options);
      model.dispose();
    }
  });

  test(`${form}: layers, norm, projector, pooling, dense layers and an output without bias, one after another`, async () => {
    for (const pooling of poolings) {
      const options = {
        task: pooling === 'mean' ? 'classification' : 'regression',
        source: 'layers',
        inputNorm: pooling === 'max' ? 'utterance' : 'frame',
        projector: 10,
        pooling,
        dense: [
          { width: 9, activation: 'tanh' },
          { width: 6, norm: true, activation: 'relu' },
          { width: 5, norm: true, activation: 'none' },
        ],
        bias: false,
        frames: pooling === 'sum' ? { window: 4, hop: 2 } : { window: 7, hop: 3 },
      };
      const model = await headModel(form, options);
      await assertAsReference(model, options);
      model.dispose();
    }
  });
}

test('windows of frames that are kept reach into the frames around these', async () => {
  const options = { pooling: 'attentive-stats', frames: { window: 6, hop: 3 } };
  const model = await headModel('base', options);
  const [, last] = utterances;
  const batch = pack(model, [last]);
  const whole = await model.classify(batch);
  const [first, count] = [7, whole.offsets[1] - 12];
  const part = await model.classify(batch, { starts: Int32Array.of(first), counts: Int32Array.of(count) });
  const expected = whole.framePosteriors.subarray(first * outputs, (first + count) * outputs);
  assert.ok(relativeError(part.framePosteriors, expected) < 1e-6);
  model.dispose();
});

test('a head that reads the sum of states has no preference at first, and its parts start as PyTorch would have them', async () => {
  const bare = await loadModel(engine, 'base');
  const dense = [{ width: 8, norm: true, activation: 'tanh' }];
  const model = await engine.createModel({
    ...bare.spec,
    classifier: {
      classes: 2,
      source: 'layers',
      projector: 100,
      pooling: 'attentive-stats',
      dense,
      frames: { window: 5, hop: 5 },
    },
  });
  await model.initialize(1);
  const weights = await readWeights(model);
  const bounded = (name, bound) => {
    const largest = weights
      .get(name)
      .flat()
      .reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    assert.ok(largest < bound && largest > 0.6 * bound, `${name}: ${largest}, bound ${bound}`);
  };
  assert.equal(
    weights.get('layer_weights').flat(),
    range(bare.config.shape.layers + 1).map(() => 0),
  );
  for (const name of ['projector.weight', 'projector.bias']) bounded(name, 1 / Math.sqrt(bare.config.shape.hiddenSize));
  for (const name of ['pooling.weight', 'pooling.linear.weight', 'pooling.linear.bias']) bounded(name, 1 / 10);
  for (const name of ['dense.0.weight', 'dense.0.bias']) bounded(name, 1 / Math.sqrt(200));
  assert.equal(
    weights.get('dense.0.norm.weight').flat(),
    range(8).map(() => 1),
  );
  assert.equal(
    weights.get('dense.0.norm.bias').flat(),
    range(8).map(() => 0),
  );
  model.dispose();
  bare.dispose();
});

// ——— Regression.

const regression = { task: 'regression', pooling: 'mean', projector: 6 };
const targets = Float32Array.from(range(utterances.length * outputs), (i) => Math.cos(5 * i));
const regressionOptions = (options = {}) => ({
  ...stepOptions('mean', new Int32Array(), undefined, 1),
  objective: 'regression',
  ...options,
});
const someOf = (members, values) =>
  Float32Array.from(members.flatMap((b) => Array.from(values.subarray(b * outputs, (b + 1) * outputs))));

/** 1 − CCC, the mean over outputs. */
function concordanceLoss(values) {
  const of = (x, c) => range(x.length / outputs).map((b) => x[b * outputs + c]);
  const losses = range(outputs).map((c) => {
    const x = of(values, c);
    const y = of(targets, c);
    const [meanX, meanY] = [x, y].map((v) => sum(v) / v.length);
    const covariance = sum(x.map((value, i) => (value - meanX) * (y[i] - meanY))) / x.length;
    const variance = (v, mean) => sum(v.map((value) => (value - mean) ** 2)) / v.length;
    return 1 - (2 * covariance) / (variance(x, meanX) + variance(y, meanY) + (meanX - meanY) ** 2);
  });
  return sum(losses) / outputs;
}

test('a regression learns by the concordance of all of its update: passes that know of each other add up to the whole', async () => {
  const model = await headModel('base', regression);
  const batch = pack(model, utterances);
  const whole = await model.trainStep(batch, regressionOptions({ targets }));
  const { logits } = await model.classify(batch);
  const expected = concordanceLoss(logits);
  assert.ok(Math.abs(whole.lossSum - expected) < 1e-5, `${whole.lossSum}, expected ${expected}`);
  assert.equal([whole.count, whole.correct], [utterances.length, 0]);
  const gradients = await model.exportGradients();
  await model.clearGradients();

  const parts = [[1], [0, 2]];
  const batches = parts.map((members) =>
    pack(
      model,
      members.map((b) => utterances[b]),
    ),
  );
  const found = await Promise.all(batches.map((part) => model.trainOutputs(part, regressionOptions())));
  for (const [i, members] of parts.entries())
    assert.ok(relativeError(found[i], someOf(members, logits)) < 1e-5, 'outputs in training are those of inference');
  const shares = await Promise.all(
    batches.map((part, i) =>
      model.trainStep(
        part,
        regressionOptions({
          targets: someOf(parts[i], targets),
          others: { outputs: found[1 - i], targets: someOf(parts[1 - i], targets) },
        }),
      ),
    ),
  );
  assert.ok(Math.abs(sum(shares.map(({ lossSum }) => lossSum)) - expected) < 1e-5, 'shares of the loss');
  const added = new Map((await model.exportGradients()).map((tensor) => [tensor.name, tensor.data]));
  for (const { name, data } of gradients) {
    if (name.endsWith('k_proj.bias') || name === 'masked_spec_embed') continue;
    const error = relativeError(added.get(name), data);
    assert.ok(error < 2e-4, `${name}: ${error}`);
  }
  model.dispose();
});

test('outputs in training have the dropout of the step with the same seed and number, and add to no gradient', async () => {
  const bare = await loadModel(engine, 'base');
  const config = {
    ...bare.config,
    shape: { ...bare.config.shape, hiddenDropout: 0.2, finalDropout: 0.3, layerdrop: 0.3 },
  };
  bare.dispose();
  const dense = [{ width: 8, activation: 'tanh' }];
  const model = await engine.createModel({
    ...bare.spec,
    config,
    classifier: { classes: outputs, ...regression, dense, frames: { window: 5, hop: 5 } },
  });
  await model.initialize(2);
  const batch = pack(model, utterances);
  for (const step of [0, 1, 2]) {
    const options = regressionOptions({ targets, dropout: true, step });
    const found = await model.trainOutputs(batch, options);
    assert.not.equal(found, (await model.classify(batch)).logits);
    assert.ok((await model.exportGradients()).every(({ data }) => data.every((value) => value === 0)));
    const { lossSum } = await model.trainStep(batch, options);
    assert.ok(Math.abs(lossSum - concordanceLoss(found)) < 1e-6, `step ${step}`);
    await model.clearGradients();
  }
  model.dispose();
});

test('what a regression cannot be trained with is refused', async () => {
  const model = await headModel('base', regression);
  const batch = pack(model, utterances);
  const refused = async (options, code, message) => {
    await model.trainStep(batch, options).then(
      () => assert.unreachable(message),
      (error) => {
        assert.is(error.code, code);
        assert.match(error.message, message);
      },
    );
  };
  await refused(stepOptions('mean', classes), 'ERR_HEAD', 'objective regression');
  await refused(regressionOptions(), 'ERR_BATCH', '9 targets, 3 an utterance, but received 0');
  await refused(regressionOptions({ targets: targets.subarray(3) }), 'ERR_BATCH', 'received 6');
  await refused(regressionOptions({ targets, denominator: 3 }), 'ERR_BATCH', 'denominator 1');
  await refused(regressionOptions({ targets, labels: classes }), 'ERR_BATCH', '0 labels');
  const others = { outputs: targets.subarray(1), targets: targets.subarray(1) };
  await refused(regressionOptions({ targets, others }), 'ERR_BATCH', '3 outputs for each utterance of other passes');
  const bad = targets.map((value, i) => (i === 4 ? Number.NaN : value));
  await refused(regressionOptions({ targets: bad }), 'ERR_NOT_FINITE', 'Utterance 1 of the batch has a target');
  await refused(
    regressionOptions({ targets, others: { outputs: bad, targets } }),
    'ERR_NOT_FINITE',
    "An output of the update's other passes",
  );
  model.dispose();
  const classifier = await headModel('base', { pooling: 'mean' });
  const outputsOf = classifier.trainOutputs(batch, regressionOptions());
  await outputsOf.then(assert.unreachable, ({ code, message }) => {
    assert.is(code, 'ERR_HEAD');
    assert.match(message, 'gives classes');
  });
  classifier.dispose();
});

test('a norm over whole utterances is for inference alone', async () => {
  const model = await headModel('large', { pooling: 'mean', inputNorm: 'utterance' });
  await model.trainStep(pack(model, utterances), stepOptions('mean', classes)).then(
    () => assert.unreachable(),
    (error) => {
      assert.is(error.code, 'ERR_MODEL_CONFIG');
      assert.match(error.message, 'inputNorm utterance');
    },
  );
  model.dispose();
});

test('a head that cannot be made is refused by the option that is wrong', async () => {
  const bare = await loadModel(engine, 'base');
  const refused = async (options, message) => {
    await engine.createModel({ ...bare.spec, classifier: { classes: 2, pooling: 'mean', ...options } }).then(
      () => assert.unreachable(message),
      (error) => {
        assert.is(error.code, 'ERR_ARGUMENT');
        assert.match(error.message, message);
      },
    );
  };
  await refused({ classes: 0 }, 'Expected a value above 0 for classifier.classes but received 0');
  await refused({ pooling: 'average' }, 'for classifier.pooling but received "average"');
  await refused({ projector: 1.5 }, 'classifier.projector');
  await refused(
    { dense: [{ width: 4, activation: 'gelu' }], frames: { window: 5, hop: 1 } },
    'classifier.dense.0.activation',
  );
  await refused(
    { dense: [{ width: 4, activation: 'tanh' }] },
    'Expected frames (a window and a hop) beside dense layers',
  );
  await refused({ frames: { window: 5, hop: 0 } }, 'classifier.frames.hop');
  await refused({ poolings: 2 }, "There is no option 'classifier.poolings'");
  bare.dispose();
});

test.run();
