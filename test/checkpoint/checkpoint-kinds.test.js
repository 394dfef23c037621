// One model, whoever saved it: fairseq, s3prl, torchaudio, PyTorch Lightning, transformers in parts. The fixtures are the models of
// test/fixtures/encode in those forms (scripts/oracle/checkpoint_kinds.py).
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseConvolutions } from '../../dist/checkpoint/foreign/convolutions.js';
import { usePretrained } from '../../dist/checkpoint/pretrained.js';
import { describedByShapes, encoderShapes } from '../../dist/checkpoint/shapes.js';
import {
  EmotionModel,
  Encoder,
  loadPretrained,
  parseHubertConfig,
  readNpy,
  writeSafetensors,
} from '../../dist/index.js';
import { relativeError } from '../support/golden.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { fixtures } from '../support/tinyPredictor.js';

const test = suite('checkpoint kinds');
const keep = keeper(test);
const kinds = join(fixtures, 'kinds');
const kind = (...names) => join(kinds, ...names);
const voice = join(fixtures, 'audio', 'voice.wav');
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-kinds-'));
test.after(() => rmSync(scratch, { recursive: true, force: true }));

const same = [
  ['a HuBERT checkpoint of fairseq', 'base', kind('hubert_fairseq.pt')],
  [
    'a wav2vec 2.0 checkpoint of fairseq with its namespace, in the form of before PyTorch 1.6',
    'large',
    kind('wav2vec_fairseq.pt'),
  ],
  [
    'a HuBERT that fairseq fine-tuned for recognition, its config in objects of omegaconf',
    'base',
    kind('hubert_fairseq_ctc.pt'),
  ],
  ["s3prl's conversion", 'large', kind('hubert_s3prl.pt')],
  ["a state dict of torchaudio's Wav2Vec2Model", 'large', kind('torchaudio_large', 'wav2vec2.pth')],
  ["a state dict of torchaudio's HuBERTPretrainModel", 'base', kind('torchaudio_base', 'hubert.pth')],
  ['safetensors in parts', 'base', kind('sharded_safetensors')],
  ['pytorch_model.bin in parts', 'large', kind('sharded_bin')],
  ["a checkpoint of Lightning from HFLEA's pretraining", 'base', kind('lightning', 'epoch=168-step=16196.ckpt')],
  ["a model that HFLEA's script fine-tuned", 'base', kind('hflea')],
  [
    'the weights of a transformers directory, named as a file',
    'large',
    join(fixtures, 'encode', 'large', 'model.safetensors'),
  ],
];
const layers = [{ layer: 0 }, { layer: 1 }, {}];

/** Hidden states of a model at each of `layers`. */
async function statesOf(path) {
  const encoder = await Encoder.load(path, { threads: 1 });
  try {
    return await Promise.all(layers.map(async (options) => (await encoder.encode(voice, options)).hidden));
  } finally {
    await encoder.dispose();
  }
}
const whole = {};
test.before(async () => {
  for (const form of ['base', 'large']) whole[form] = await statesOf(join(fixtures, 'encode', form));
});

for (const [what, form, path] of same) {
  test(`${what} gives the tensors and the hidden states of the same model saved by transformers, to the bit`, async () => {
    const truth = await loadPretrained(join(fixtures, 'encode', form));
    const found = await loadPretrained(path);
    const names = [...truth.tensors.keys()].filter((name) => name !== 'masked_spec_embed' || found.tensors.has(name));
    assert.equal([...found.tensors.keys()].sort(), names.sort());
    for (const [name, { shape, data }] of found.tensors) {
      assert.equal(shape, truth.tensors.get(name).shape, name);
      assert.equal(data, truth.tensors.get(name).data, name);
    }
    assert.is(found.normalize, truth.normalize);
    assert.equal(await statesOf(path), whole[form]);
  });
}

test('what the encoders of torchaudio lack is the mask embedding alone, which is read where there is one', async () => {
  const missing = async (...path) => {
    const { tensors } = await loadPretrained(kind(...path));
    return [...(await loadPretrained(join(fixtures, 'encode', 'base'))).tensors.keys()].filter(
      (name) => !tensors.has(name),
    );
  };
  assert.equal(await missing('torchaudio_base', 'hubert.pth'), []);
  assert.equal(await missing('torchaudio_large', 'wav2vec2.pth'), ['masked_spec_embed']);
});

test('what fairseq says of its model is translated to transformers’ terms', async () => {
  const { config, ignored } = await loadPretrained(kind('hubert_fairseq.pt'));
  assert.equal(config.shape.convStride, [5, 2, 2, 2, 2, 2, 2]);
  assert.is(config.shape.heads, 2);
  assert.is(config.shape.attentionDropout, 0.05);
  assert.is(config.shape.activationDropout, 0);
  assert.is(config.shape.featureProjectionDropout, 0.1);
  assert.is(config.shape.layerdrop, 0.05);
  assert.is(config.shape.positionalGroups, 4);
  assert.equal(ignored, ['final_proj.weight', 'final_proj.bias', 'label_embs_concat']);
  const large = await loadPretrained(kind('wav2vec_fairseq.pt'));
  assert.is(large.config.shape.stableLayerNorm, true);
  assert.is(large.config.shape.convBias, true);
  assert.equal(large.ignored, ['quantizer.vars', 'project_q.weight']);
});

test('the list of convolutions is read as a list, and anything else in its place is refused', async () => {
  assert.equal(parseConvolutions('[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2').map(String), [
    '512,10,5',
    ...Array(4).fill('512,3,2'),
    ...Array(2).fill('512,2,2'),
  ]);
  assert.equal(parseConvolutions('[(4, 2, 1), (8, 3, 2)]'), [
    [4, 2, 1],
    [8, 3, 2],
  ]);
  for (const text of ['', '[(512,10)]', '[(512,10,5)] * 999', '[(1,2,3)]-[(1,2,3)]', 'x', '[(1,2,3)] * -1']) {
    assert.is(parseConvolutions(text), undefined, text);
  }
  await refused(loadPretrained(kind('python_fairseq.pt')), 'ERR_MODEL_CONFIG', /conv_feature_layers __import__/);
  assert.is(existsSync('/tmp/emoframe-hostile-pickle'), false);
});

test('models of fairseq that are built otherwise are refused with the reason', async () => {
  await refused(loadPretrained(kind('data2vec_fairseq.pt')), 'ERR_MODEL_CONFIG', /5 positional convolutions/);
  await refused(loadPretrained(kind('conformer_fairseq.pt')), 'ERR_MODEL_CONFIG', /layers of type conformer/);
});

test('weights of WavLM beside a config of HuBERT are refused by the tensor that it does not have', async () => {
  const directory = join(scratch, 'wavlm');
  cpSync(join(fixtures, 'families', 'wavlm_base'), directory, { recursive: true });
  const raw = JSON.parse(readFileSync(join(directory, 'config.json')));
  writeFileSync(join(directory, 'config.json'), JSON.stringify({ ...raw, model_type: 'hubert' }));
  await refused(loadPretrained(directory), 'ERR_TENSOR', /attention\.(gru|rel).*not of the one/);
});

for (const form of ['base', 'large']) {
  test(`every hidden state of wav2vec 2.0 in the ${form} form is that of transformers`, async () => {
    const { data, shape } = await readNpy(kind(`wav2vec2_${form}.npy`));
    const [states, frames, dimension] = shape;
    const encoder = keep(await Encoder.load(kind(`wav2vec2_${form}`), { threads: 1 }));
    for (let layer = 0; layer < states; layer++) {
      const found = await encoder.encode(voice, layer === states - 1 ? {} : { layer });
      const expected = data.subarray(layer * frames * dimension, (layer + 1) * frames * dimension);
      const error = relativeError(found.hidden, expected);
      assert.ok(error < 1e-4, `layer ${layer}: relative error ${error}`);
    }
  });
}

test('what wav2vec 2.0 adds for its own training is left out; what it adds to the encoder is refused', async () => {
  const { ignored } = await loadPretrained(kind('wav2vec2_large'));
  assert.ok(ignored.includes('quantizer.codevectors') && ignored.includes('project_hid.weight'), ignored.join());
  const raw = JSON.parse(readFileSync(kind('wav2vec2_base', 'config.json')));
  for (const [field, value] of Object.entries({ add_adapter: true, adapter_attn_dim: 16 })) {
    assert.throws(
      () => parseHubertConfig({ ...raw, [field]: value }),
      (error) => error.code === 'ERR_MODEL_CONFIG' && error.message.includes(field),
    );
  }
});

test("the classifier of HFLEA's script answers as it does, with its labels", async () => {
  const model = keep(await EmotionModel.load(kind('hflea'), { threads: 1 }));
  const { probabilities } = await model.predict(voice);
  const { hflea } = JSON.parse(readFileSync(kind('expected.json')));
  assert.equal(Object.keys(probabilities), ['hap', 'neu', 'sad', 'ang']);
  for (const [label, probability] of Object.entries(hflea)) {
    assert.ok(
      Math.abs(probabilities[label] - probability) < 1e-5,
      `${label}: ${probabilities[label]} for ${probability}`,
    );
  }
});

/** A copy of HFLEA's model with something changed. */
async function changedHflea(name, config, change) {
  const directory = join(scratch, name);
  cpSync(kind('hflea'), directory, { recursive: true });
  const raw = JSON.parse(readFileSync(join(directory, 'config.json')));
  writeFileSync(join(directory, 'config.json'), JSON.stringify({ ...raw, ...config }));
  const { tensors } = await loadPretrained(directory);
  const values = (shape) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b)).fill(0.1) });
  const heads = { 'atten.atten_weight': values([16, 1]), ...change(values) };
  await writeSafetensors(join(directory, 'model.safetensors'), [
    ...tensors.values(),
    ...Object.entries(heads).map(([head, tensor]) => ({ name: head, ...tensor })),
  ]);
  return directory;
}

test("labels of HFLEA's head are the config's where it names them, and numbered where nothing does", async () => {
  const two = (values) => ({ 'classifier.fc_out_1.weight': values([2, 16]), 'classifier.fc_out_1.bias': values([2]) });
  const named = await changedHflea('named', { id2label: { 0: 'calm', 1: 'angry' } }, two);
  assert.equal((await loadPretrained(named)).head.labels, ['calm', 'angry']);
  const unnamed = await changedHflea('unnamed', { id2label: { 0: 'LABEL_0', 1: 'LABEL_1' } }, two);
  assert.equal((await loadPretrained(unnamed)).head.labels, ['class 0', 'class 1']);
});

test("another pooling in HFLEA's script is refused", async () => {
  const stats = await changedHflea('stats', {}, (values) => ({
    'classifier.fc_out_1.weight': values([4, 32]),
    'classifier.fc_out_1.bias': values([4]),
  }));
  await refused(loadPretrained(stats), 'ERR_HEAD', /SoftAttention/);
});

const published = {
  base: {},
  large: {
    hidden_size: 1024,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    intermediate_size: 4096,
    feat_extract_norm: 'layer',
    do_stable_layer_norm: true,
    conv_bias: true,
  },
  xlarge: {
    hidden_size: 1280,
    num_hidden_layers: 48,
    num_attention_heads: 16,
    intermediate_size: 5120,
    feat_extract_norm: 'layer',
    do_stable_layer_norm: true,
  },
};
for (const [form, raw] of Object.entries(published)) {
  test(`a bare state dict of the ${form} size shows by its shapes what it is`, () => {
    const { shape } = parseHubertConfig(raw);
    const shapes = new Map([...encoderShapes(shape)].map(([name, sides]) => [name, { shape: sides }]));
    const { config, normalize } = describedByShapes(shapes, 'x.pth');
    assert.equal(parseHubertConfig(config).shape, shape);
    assert.is(normalize, form !== 'base');
  });
}

test('a bare state dict of another size asks for a config.json beside it', async () => {
  const file = join(scratch, 'hubert.pth');
  cpSync(kind('torchaudio_base', 'hubert.pth'), file);
  await refused(loadPretrained(file), 'ERR_MODEL_CONFIG', /heads of a model of width 16.*config\.json beside it/);
  // Settings of some other program say nothing of a model.
  for (const text of ['{"preset": "paper"}', '[]', 'not JSON']) {
    writeFileSync(join(scratch, 'config.json'), text);
    await refused(loadPretrained(file), 'ERR_MODEL_CONFIG', /heads of a model of width 16/);
  }
  rmSync(join(scratch, 'config.json'));
});

/** A copy of a directory in parts, its index changed. */
function changedIndex(name, change) {
  const directory = join(scratch, name);
  cpSync(kind('sharded_safetensors'), directory, { recursive: true });
  const file = join(directory, 'model.safetensors.index.json');
  const index = JSON.parse(readFileSync(file));
  change(index.weight_map);
  writeFileSync(file, JSON.stringify(index));
  return { directory, file };
}

test('an index that leaves its directory, names a file or a tensor that is not there, or is none, is refused', async () => {
  for (const place of ['../base/model.safetensors', '/etc/passwd', '..', 'sub/part.safetensors', 'a\0b', '']) {
    const { directory, file } = changedIndex(`outside${place.length}`, (map) => {
      map['encoder.layer_norm.weight'] = place;
    });
    const error = await refused(loadPretrained(directory), 'ERR_CHECKPOINT', /not a file beside it/);
    assert.is(error.file, file);
  }
  const inherited = changedIndex('inherited', (map) => {
    Object.defineProperty(map, '__proto__', { value: 'model-00001-of-00002.safetensors', enumerable: true });
  });
  await refused(loadPretrained(inherited.directory), 'ERR_CHECKPOINT', /__proto__.*no such tensor/);
  const gone = changedIndex('gone', () => {});
  rmSync(join(gone.directory, 'model-00002-of-00002.safetensors'));
  await refused(loadPretrained(gone.directory), 'ERR_FILE_NOT_FOUND', /00002-of-00002/);
  const wrong = changedIndex('wrong', (map) => {
    map['encoder.extra'] = 'model-00001-of-00002.safetensors';
  });
  await refused(loadPretrained(wrong.directory), 'ERR_CHECKPOINT', /encoder\.extra.*no such tensor/);
  const many = changedIndex('many', (map) => {
    for (let i = 0; i < 300; i++) map[`t${i}`] = `part${i}.safetensors`;
  });
  await refused(loadPretrained(many.directory), 'ERR_CHECKPOINT', /more than 256/);
  writeFileSync(gone.file, '{"weight_map": [1]}');
  await refused(loadPretrained(gone.directory), 'ERR_CHECKPOINT', /weight_map/);
});

test('tensors of every kind of file stay in their files until they are asked for', async () => {
  for (const path of [
    kind('hubert_fairseq.pt'),
    kind('wav2vec_fairseq.pt'),
    kind('sharded_bin'),
    kind('sharded_safetensors'),
  ]) {
    await usePretrained(path, async ({ tensors }) => {
      const largest = [...tensors.values()].sort((a, b) => b.shape.length - a.shape.length)[0];
      const into = new Float32Array(4096);
      const data = await largest.read(into);
      assert.is(data.buffer, into.buffer, path);
    });
  }
});

test('a file that is cut short is refused by its name, wherever it ends', async () => {
  for (const name of ['hubert_fairseq.pt', 'wav2vec_fairseq.pt']) {
    const size = readFileSync(kind(name)).length;
    const file = join(scratch, name);
    for (let length = size - 1; length > 0; length -= 2917) {
      cpSync(kind(name), file);
      truncateSync(file, length);
      const error = await loadPretrained(file).then(
        () => undefined,
        (reason) => reason,
      );
      assert.ok(['ERR_CHECKPOINT', 'ERR_PICKLE'].includes(error?.code), `${name} at ${length}: ${error?.stack}`);
      assert.is(error.file, file);
    }
  }
});

test('files that hold no model are refused', async () => {
  await refused(loadPretrained(kind('kmeans', 'mini.bin')), 'ERR_CHECKPOINT', /mini\.bin.*not from PyTorch/);
  await refused(loadPretrained(kind('expected.json')), 'ERR_CHECKPOINT', /expected\.json/);
  await refused(loadPretrained(scratch), 'ERR_FILE_NOT_FOUND', /no config\.json/);
  symlinkSync(kind('hubert_fairseq.pt'), join(scratch, 'linked.pt'));
  assert.is((await loadPretrained(join(scratch, 'linked.pt'))).config.shape.layers, 2);
});

test.run();
