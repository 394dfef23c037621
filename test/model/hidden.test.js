import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { waveformStatistics } from '../../dist/audio/normalize.js';
import { Engine, packSamples } from '../../dist/index.js';
import { assertAllBelow, FORMS, loadModel, pack, readData, readTensors, relativeError } from '../support/parity.js';
import { refused } from '../support/refused.js';

const test = suite('hidden states');
const engine = Engine.create({ device: 'cpu', threads: 2 });
test.after(() => engine.dispose());
const { utterances } = await readData();

/** Error of every layer and of the output, for every utterance, against PyTorch, which ran each utterance alone. */
async function errors(model, form, batch, members) {
  const golden = await readTensors(`${form}.hidden`);
  const channels = model.config.shape.hiddenSize;
  const result = [];
  for (const layer of [...Array(model.config.shape.layers + 1).keys(), 'output']) {
    const { hidden, offsets } = await model.encode(batch, layer);
    assert.is(offsets.length, members.length + 1);
    members.forEach((index, position) => {
      const expected = golden.get(`hidden.${index}.${layer}`);
      const [start, end] = [offsets[position], offsets[position + 1]];
      assert.is(end - start, expected.shape[0], `frames of utterance ${index}`);
      const found = hidden.subarray(start * channels, end * channels);
      result.push([`utterance ${index} layer ${layer}`, relativeError(found, expected.data)]);
    });
  }
  return result;
}

/** As transformers' extractor does it. */
const normalized = (samples, { mean, scale }) => samples.map((value) => (value - mean) * scale);

for (const form of FORMS) {
  test(`${form}: every layer is PyTorch's, an utterance alone`, async () => {
    const model = await loadModel(engine, form);
    for (const index of [0, 1, 2]) {
      assertAllBelow(await errors(model, form, pack(model, [utterances[index]]), [index]), 1e-5, form);
    }
    model.dispose();
  });

  test(`${form}: every layer is PyTorch's, three ragged utterances packed in any order`, async () => {
    const model = await loadModel(engine, form);
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
      [1, 1],
    ]) {
      const batch = pack(
        model,
        order.map((index) => utterances[index]),
      );
      assertAllBelow(await errors(model, form, batch, order), 1e-5, `${form} ${order}`);
    }
    model.dispose();
  });

  test(`${form}: in bf16 every layer is PyTorch's within 2 %`, async () => {
    const model = await loadModel(engine, form, { precision: 'bf16' });
    const found = await errors(model, form, pack(model, utterances), [0, 1, 2]);
    assertAllBelow(found, 2e-2, form);
    assert.ok(
      found.some(([, error]) => error > 1e-4),
      'bf16 was computed in bf16',
    );
    model.dispose();
  });

  test(`${form}: the same batch gives the same bits again, and an utterance alone what it gives in a batch`, async () => {
    const model = await loadModel(engine, form);
    const { layers, hiddenSize } = model.config.shape;
    const together = await model.encode(pack(model, utterances), layers);
    const again = await model.encode(pack(model, utterances), layers);
    assert.ok(
      together.hidden.every((value, i) => value === again.hidden[i]),
      'the same bits again',
    );
    for (const index of [0, 1, 2]) {
      const alone = await model.encode(pack(model, [utterances[index]]), layers);
      const part = together.hidden.subarray(
        together.offsets[index] * hiddenSize,
        together.offsets[index + 1] * hiddenSize,
      );
      assert.ok(relativeError(part, alone.hidden) < 1e-6, `utterance ${index}: ${relativeError(part, alone.hidden)}`);
    }
    model.dispose();
  });

  test(`${form}: waveforms normalised on the device give the states of those that transformers' extractor gives`, async () => {
    const model = await loadModel(engine, form);
    const { layers } = model.config.shape;
    const { stride } = model.geometry;
    const raw = [
      utterances[0],
      utterances[1].map((sample) => 0.8 + 1e-3 * sample), // far off centre, and quiet
      new Float32Array(utterances[2].length).fill(0.25), // silence
    ];
    const statistics = await Promise.all(raw.map((samples) => waveformStatistics(samples)));
    const expected = await model.encode(
      pack(
        model,
        raw.map((samples, b) => normalized(samples, statistics[b])),
      ),
      layers,
    );
    const found = await model.encode(packSamples(raw, stride, { normalize: true }), layers);
    assert.ok(relativeError(found.hidden, expected.hidden) < 1e-6);
    const given = await model.encode(packSamples(raw, stride, { normalize: statistics }), layers);
    assert.equal(given.hidden, expected.hidden);
    // A part gives what it does in the whole.
    const part = raw[1].subarray(0, 4 * stride + 80);
    const encoded = await model.encode(packSamples([part], stride, { normalize: [statistics[1]] }), 0);
    const whole = normalized(part, statistics[1]);
    assert.equal(encoded.hidden, (await model.encode(pack(model, [whole]), 0)).hidden);
    assert.ok(relativeError((await model.encode(pack(model, [part]), 0)).hidden, encoded.hidden) > 1e-6);
    for (const waveform of [Float64Array.of(0, 1), new Float64Array(8)]) {
      const batch = { ...packSamples(raw, stride, { normalize: true }), waveform };
      await refused(model.encode(batch, 0), 'ERR_BATCH', /a mean and a scale for each of 3 utterances/);
    }
    model.dispose();
  });

  test(`${form}: stored features give what the audio gives, and a range of frames what is there`, async () => {
    const model = await loadModel(engine, form);
    const { layers, hiddenSize } = model.config.shape;
    const batch = pack(model, utterances);
    await model.storeFeatures(['a', 'b', 'c'], batch);
    const direct = await model.encode(batch, layers);
    const stored = await model.encode({ features: ['a', 'b', 'c'] }, layers);
    assert.equal([...stored.offsets], [...direct.offsets]);
    assert.ok(relativeError(stored.hidden, direct.hidden) < 1e-6);
    assert.is(model.storedFrames('b'), direct.offsets[2] - direct.offsets[1]);
    const cropped = await model.encode(
      { features: ['c', 'b'], frameStarts: Int32Array.of(3, 10), frameCounts: Int32Array.of(7, 20) },
      layers,
    );
    assert.equal([...cropped.offsets], [0, 7, 27]);
    const alone = await model.encode(
      { features: ['b'], frameStarts: Int32Array.of(10), frameCounts: Int32Array.of(20) },
      layers,
    );
    assert.ok(relativeError(cropped.hidden.subarray(7 * hiddenSize), alone.hidden) < 1e-6);
    model.dispose();
  });
}

test.run();
