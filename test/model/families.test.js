// WavLM, data2vec and emotion2vec beside PyTorch (scripts/oracle/families.py), which ran each utterance alone.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { describedByFairseq } from '../../dist/checkpoint/foreign/fairseq.js';
import { loadHubert } from '../../dist/checkpoint/load.js';
import { loadPretrained } from '../../dist/checkpoint/pretrained.js';
import { readSafetensors } from '../../dist/checkpoint/safetensors.js';
import { encoderShapes } from '../../dist/checkpoint/shapes.js';
import { Engine, packSamples } from '../../dist/index.js';
import { parseHubertConfig } from '../../dist/model/hubertConfig.js';
import { readData, relativeError } from '../support/parity.js';

const test = suite('families of models');
const families = fileURLToPath(new URL('../fixtures/families/', import.meta.url));
const engine = Engine.create({ device: 'cpu', threads: 1 });
test.after(() => engine.dispose());
const { utterances } = await readData();

/** Errors of all hidden states of these utterances, by their places in the fixtures. */
async function errors(name, path, members, precision = 'fp32') {
  const { tensors: golden } = await readSafetensors(`${families}${name}.hidden.safetensors`);
  const { model, normalize } = await loadHubert(engine, path, precision);
  const batch = packSamples(
    members.map((index) => utterances[index]),
    model.geometry.stride,
    { normalize },
  );
  const { layers, hiddenSize } = model.config.shape;
  const found = [];
  for (const layer of [...Array(layers + 1).keys(), 'output']) {
    const { hidden, offsets } = await model.encode(batch, layer);
    members.forEach((index, b) => {
      const expected = golden.get(`hidden.${index}.${layer}`);
      assert.is(offsets[b + 1] - offsets[b], expected.shape[0], 'frames, and no others');
      const part = hidden.subarray(offsets[b] * hiddenSize, offsets[b + 1] * hiddenSize);
      found.push([`utterance ${index} layer ${layer}`, relativeError(part, expected.data)]);
    });
  }
  model.dispose();
  return found;
}

const names = ['wavlm_base', 'wavlm_large', 'wavlm_group_stable', 'wavlm_layer', 'data2vec', 'emotion2vec'];
for (const name of names) {
  test(`${name}: every hidden state is PyTorch's, alone and in a batch`, async () => {
    for (const members of [[0], [1], [1, 0, 1]]) {
      for (const [what, error] of await errors(name, `${families}${name}`, members)) {
        assert.ok(error < 2e-5, `${what} of ${members}: relative error ${error}`);
      }
    }
  });

  test(`${name}: in bf16 within 8 %`, async () => {
    for (const [what, error] of await errors(name, `${families}${name}`, [0, 1], 'bf16')) {
      assert.ok(error < 8e-2, `${what}: relative error ${error}`);
    }
  });
}

test("Microsoft's own file of WavLM gives what transformers' does", async () => {
  const path = `${families}wavlm_base_microsoft.pt`;
  const { config, normalize } = await loadPretrained(path);
  assert.equal(config.shape.positionBias, { kind: 'buckets', buckets: 16, reach: 20 });
  assert.is(normalize, false);
  for (const [what, error] of await errors('wavlm_base', path, [0, 1])) assert.ok(error < 2e-5, `${what}: ${error}`);
});

test("Microsoft's large model has its waveforms normalised as by a LayerNorm, and another default of distances", () => {
  const options = { encoder_layers: 24, relative_position_embedding: true, gru_rel_pos: true, normalize: true };
  const root = (more) => new Map([['cfg', new Map(Object.entries({ ...options, ...more }))]]);
  const { config, normalize } = describedByFairseq(root({}), 'x.pt');
  assert.equal(normalize, { epsilon: 1e-5 });
  assert.equal(parseHubertConfig(config).shape.positionBias, { kind: 'buckets', buckets: 320, reach: 1280 });
  assert.throws(
    () => describedByFairseq(root({ gru_rel_pos: false }), 'x.pt'),
    (error) => error.code === 'ERR_MODEL_CONFIG' && error.message.includes('without the gate'),
  );
});

test('a config whose part for audio is none is refused by the fields that it lacks', () => {
  for (const modalities of [new Map(), new Map([['audio', 'x']])]) {
    const root = new Map([['cfg', new Map([['model', new Map([['modalities', modalities]])]])]]);
    assert.throws(
      () => describedByFairseq(root, 'x.pt'),
      (error) => error.code === 'ERR_MODEL_CONFIG' && /x\.pt.*depth/.test(error.message),
    );
  }
});

test('the tensors that a family has are those that its config promises, and others are left out by name', async () => {
  for (const name of names) {
    const { config, tensors, ignored } = await loadPretrained(`${families}${name}`);
    const promised = new Map(encoderShapes(config.shape));
    for (const { name: tensor, shape } of tensors.values()) assert.equal(shape, promised.get(tensor), tensor);
    const missing = [...promised.keys()].filter((tensor) => !tensors.has(tensor));
    assert.equal(missing, name === 'emotion2vec' ? ['masked_spec_embed'] : []);
    const decoder = ['d2v_model.modality_encoders.AUDIO.decoder.blocks.0.0.weight'];
    assert.equal(ignored, name === 'emotion2vec' ? decoder : []);
  }
});

test('a config of WavLM that cannot be done is refused by its field', () => {
  const raw = JSON.parse(readFileSync(`${families}wavlm_base/config.json`, 'utf8'));
  for (const [field, value] of Object.entries({ num_buckets: 2, max_bucket_distance: 4, hidden_size: 20 })) {
    assert.throws(
      () => parseHubertConfig({ ...raw, [field]: value }),
      (error) => error.code === 'ERR_MODEL_CONFIG' && error.message.includes(field),
    );
  }
  assert.throws(
    () => parseHubertConfig({ ...raw, num_buckets: 4096, max_bucket_distance: 8192 }),
    /too large together/,
  );
  assert.throws(
    () => parseHubertConfig({ ...raw, model_type: 'whisper' }),
    /"whisper", and only "hubert".*"emotion2vec"/,
  );
});

test('what a family has of its own begins as its authors have it', async () => {
  for (const name of ['wavlm_base', 'emotion2vec', 'data2vec']) {
    const { config } = await loadPretrained(`${families}${name}`);
    const model = await engine.createModel({ config, precision: 'fp32' });
    await model.initialize(3);
    for (const { name: tensor, shape, data } of await model.exportTensors()) {
      const all = (value) => data.every((element) => element === value);
      if (/gru_rel_pos_const$|alibi_scale$/.test(tensor)) assert.ok(all(1), tensor);
      if (/pos_conv_embed\.layers\.\d\.conv\.bias$|gru_rel_pos_linear\.bias$/.test(tensor)) assert.ok(all(0), tensor);
      if (/extra_tokens$/.test(tensor)) {
        assert.ok(data.subarray(0, shape[1]).every((element) => element === 0) && data.at(-1) !== 0, tensor);
      }
      if (/rel_attn_embed|pos_conv_embed.layers.*weight/.test(tensor)) assert.not.ok(all(0), tensor);
    }
    model.dispose();
  }
});

test.run();
