import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { waveformStatistics } from '../../dist/audio/normalize.js';
import { Engine, loadPretrained, packLocally, parseConfig } from '../../dist/index.js';
import { inputStatistics, soundStatistics } from '../../dist/stages/localStatistics.js';
import { generator, speechLike } from '../support/syntheticRun.js';
import { fixtures, tinyAlignment } from '../support/tinyPredictor.js';

const test = suite('local statistics');
const engine = Engine.create({ threads: 1 });
test.after(() => engine.dispose());
const random = generator(3);
// Of different loudness and offset, so that an utterance's own statistics are not those of all.
const sounds = [0.4, 1, 2.2, 0.7, 0.5].map((gain, n) =>
  speechLike(0.5 + 0.3 * n, random).map((sample) => 0.1 * n + gain * sample),
);
const ids = sounds.map((_, n) => `u${n}`);

async function modelOf(form, alignment = {}) {
  const { config } = await loadPretrained(join(fixtures, 'encode', form));
  const model = await engine.createModel({
    config,
    precision: 'fp32',
    alignment: { classes: 4, ...tinyAlignment, ...alignment },
  });
  await model.initialize(5);
  return model;
}

/** What the functions need of a stage. Two of the sounds are no training audio, and one more is too short for a frame. */
function context() {
  const loaded = new Set();
  const all = new Map([...sounds.map((samples, n) => [ids[n], samples]), ['short', new Float32Array(300).fill(0.9)]]);
  return {
    loaded,
    fold: { name: 's', train: [...ids.slice(0, 3), 'short'], validation: [ids[3]], test: [ids[4]] },
    config: parseConfig({ memory: { passSeconds: 30 } }),
    utterances: new Map([...all.keys()].map((id) => [id, { id, audio: `/${id}.wav` }])),
    sampleCounts: new Map(),
    audio: {
      get: async ({ id }) => {
        loaded.add(id);
        return all.get(id);
      },
    },
    report: { progress: () => {} },
  };
}
const training = sounds.slice(0, 3);
const near = (found, expected, tolerance, message) =>
  assert.ok(
    Math.abs(found - expected) <= tolerance * Math.max(1, Math.abs(expected)),
    `${message}: ${found}, ${expected}`,
  );

test('sound is brought by the mean and scale of all training samples, and of nothing else', async () => {
  const all = Float32Array.from(training.flatMap((samples) => [...samples]));
  const expected = await waveformStatistics(all);
  const large = context();
  const { waveform, windows } = await soundStatistics(large, await modelOf('large'));
  near(waveform.mean, expected.mean, 1e-9, 'mean');
  near(waveform.scale, expected.scale, 1e-6, 'scale');
  assert.is(windows, undefined, 'no norm over time, no moments of windows');
  assert.equal([...large.loaded].sort(), ['short', 'u0', 'u1', 'u2']);
});

test('where the first convolution’s norm is over time, by the moments of all of its windows', async () => {
  const model = await modelOf('base');
  const { waveform, windows } = await soundStatistics(context(), model);
  const [kernel, hop] = [model.config.shape.convKernel[0], model.config.shape.convStride[0]];
  const rows = training.flatMap((samples) =>
    Array.from({ length: Math.floor((samples.length - kernel) / hop) + 1 }, (_, window) =>
      Array.from({ length: kernel }, (_, k) => (samples[window * hop + k] - waveform.mean) * waveform.scale),
    ),
  );
  const mean = Array.from({ length: kernel }, (_, k) => rows.reduce((sum, row) => sum + row[k], 0) / rows.length);
  assert.equal([windows.mean.length, windows.covariance.length], [kernel, kernel ** 2]);
  for (let k = 0; k < kernel; k++) {
    near(windows.mean[k], mean[k], 1e-5, `mean ${k}`);
    for (let j = 0; j < kernel; j++) {
      const products = rows.reduce((sum, row) => sum + (row[k] - mean[k]) * (row[j] - mean[j]), 0);
      near(windows.covariance[k * kernel + j], products / rows.length, 1e-4, `covariance ${k}, ${j}`);
    }
  }
});

test('no pass over the training sounds is longer than passSeconds', async () => {
  const model = await modelOf('large');
  const own = model.alignmentInput.bind(model);
  const passes = [];
  model.alignmentInput = async (batch) => {
    const result = await own(batch);
    passes.push(result.offsets.length - 1);
    return result;
  };
  const statistics = await soundStatistics(context(), model);
  const whole = await inputStatistics(context(), model, statistics);
  const small = context();
  const config = { ...small.config, memory: { passSeconds: 1.4 } };
  const parted = await inputStatistics({ ...small, config }, model, statistics);
  // Of 0.5, 0.8 and 1.1 seconds.
  assert.equal(passes, [3, 2, 1]);
  for (const [i, { data }] of whole.entries())
    for (const [c, value] of data.entries()) near(parted[i].data[c], value, 1e-4, `${i}, ${c}`);
});

for (const [form, alignment] of [
  ['base', {}],
  ['large', { source: 'hidden' }],
  ['large', { melBands: 8 }],
]) {
  test(`columns of what the network reads come to mean 0 and deviation 1: ${form} ${JSON.stringify(alignment)}`, async () => {
    const model = await modelOf(form, alignment);
    const statistics = await soundStatistics(context(), model);
    const found = await inputStatistics(context(), model, statistics);
    assert.equal(
      found.map(({ name }) => name),
      ['alignment.input_mean', 'alignment.input_factor'],
    );
    const { hidden } = await model.alignmentInput(packLocally(training, model.geometry.stride, statistics));
    const [{ data: mean }, { data: factor }] = found;
    const columns = mean.length;
    for (let c = 0; c < columns; c++) {
      const column = hidden.filter((_, i) => i % columns === c);
      const average = column.reduce((sum, value) => sum + value, 0) / column.length;
      const variance = column.reduce((sum, value) => sum + (value - average) ** 2, 0) / column.length;
      near(mean[c], average, 1e-4, `mean ${c}`);
      near(factor[c], 1 / (Math.sqrt(variance) + 1e-5), 1e-3, `factor ${c}`);
    }
    // The network takes them.
    await model.importTensors(found, { allowMissing: true });
  });
}

test.run();
