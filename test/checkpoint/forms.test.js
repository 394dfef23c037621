// Heads of public models, in each form in which they are published (fixtures of scripts/oracle/heads.py). What they answer is in
// test/predict/forms.test.js.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { emotion2vecTensors } from '../../dist/checkpoint/foreign/emotion2vec.js';
import { Encoder, loadPretrained, readSafetensors, writeSafetensors } from '../../dist/index.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { fixtures } from '../support/tinyPredictor.js';

const test = suite('forms');
const keep = keeper(test);
const form = (name, ...more) => join(fixtures, 'forms', name, ...more);
const voice = join(fixtures, 'audio', 'voice.wav');
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-forms-'));
test.after(() => rmSync(scratch, { recursive: true, force: true }));

const four = ['neu', 'hap', 'ang', 'sad'];
const dimensions = ['arousal', 'dominance', 'valence'];
const projected = { labels: four, pooling: 'mean', layers: { projector: 12 } };
const summed = { labels: four, pooling: 'mean', layers: { source: 'layers', projector: 12 } };
const dense = { dense: [{ width: 16, activation: 'tanh' }] };
const linear = (theirs, ours) => ({ [`${theirs}.weight`]: `${ours}.weight`, [`${theirs}.bias`]: `${ours}.bias` });
const same = (...names) => Object.assign({}, ...names.map((name) => linear(name, name)));
const deep = { width: 16, norm: true, activation: 'relu' };
const deepLayer = (i) => ({
  ...linear(`ser_model.fc.${i}.0`, `dense.${i}`),
  ...linear(`ser_model.fc.${i}.1`, `dense.${i}.norm`),
});
const attention = {
  ...linear('pool_model.sap_linear', 'pooling.linear'),
  'pool_model.attention': 'pooling.weight',
};
const level = { mean: -8.3e-5, scale: 1 / (0.0848551 + 1e-6) };
const categories = ['Angry', 'Sad', 'Happy', 'Surprise', 'Fear', 'Disgust', 'Contempt', 'Neutral'];
// FunASR gives the output `unuse_0` no probability.
const tokens = ['生气/angry', '开心/happy', '中立/neutral', '<unk>'];

/** What is read of each: its form, its head's description, its normalisation, and under which names its tensors are ours. */
const forms = {
  hubert: ['sequence-classification', projected, false, same('projector', 'classifier')],
  wav2vec2: ['sequence-classification', projected, true, same('projector', 'classifier')],
  wav2vec2_sum: [
    'sequence-classification',
    summed,
    false,
    { ...same('projector', 'classifier'), layer_weights: 'layer_weights' },
  ],
  hubert_sum: [
    'sequence-classification',
    summed,
    true,
    { ...same('projector', 'classifier'), layer_weights: 'layer_weights' },
  ],
  audeering: [
    'speech-classification',
    { labels: dimensions, task: 'regression', pooling: 'mean', layers: dense },
    true,
    { ...linear('classifier.dense', 'dense.0'), ...linear('classifier.out_proj', 'classifier') },
  ],
  pooled_by_sum: [
    'speech-classification',
    { labels: four, pooling: 'sum', layers: dense },
    false,
    { ...linear('classifier.dense', 'dense.0'), ...linear('classifier.out_proj', 'classifier') },
  ],
  pooled_by_max: [
    'speech-classification',
    { labels: four, pooling: 'max', layers: dense },
    true,
    { ...linear('classifier.dense', 'dense.0'), ...linear('classifier.out_proj', 'classifier') },
  ],
  ehcalabres: [
    'speech-classification',
    { labels: four, pooling: 'mean', layers: dense },
    true,
    { ...linear('classifier.dense', 'dense.0'), ...linear('classifier.output', 'classifier') },
  ],
  ctc: ['ctc-mean', { labels: four, pooling: 'mean' }, true, linear('lm_head', 'classifier'), { head: 'ctc-mean' }],
  wavlm: ['sequence-classification', projected, false, same('projector', 'classifier')],
  wavlm_sum: [
    'sequence-classification',
    summed,
    true,
    { ...same('projector', 'classifier'), layer_weights: 'layer_weights' },
  ],
  odyssey: [
    'odyssey',
    { labels: dimensions, task: 'regression', pooling: 'attentive-stats', layers: { dense: [deep] } },
    level,
    { ...attention, ...deepLayer(0), ...linear('ser_model.out.0', 'classifier') },
  ],
  odyssey_categorical: [
    'odyssey',
    { labels: categories, pooling: 'attentive-stats', layers: { dense: [deep, deep] } },
    level,
    { ...attention, ...deepLayer(0), ...deepLayer(1), ...linear('ser_model.out.0', 'classifier') },
  ],
  emotion2vec: ['emotion2vec', { labels: tokens, pooling: 'mean' }, { epsilon: 1e-5 }],
  emotion2vec_plus: ['emotion2vec', { labels: tokens, pooling: 'mean' }, { epsilon: 1e-5 }],
  speechbrain: [
    'speechbrain',
    { labels: ['neu', 'ang', 'hap', 'sad'], pooling: 'mean', layers: { inputNorm: 'utterance', bias: false } },
    { epsilon: 1e-5 },
  ],
};

for (const [name, [published, head, normalize, names, options]] of Object.entries(forms)) {
  test(`${name}: the head is read as what it is, every tensor of it`, async () => {
    const model = await loadPretrained(form(name), options);
    assert.is(model.form, published);
    assert.equal(model.normalize, normalize);
    const { tensors, ...described } = model.head;
    assert.equal(described, { kind: 'classifier', ...head });
    if (names === undefined) return;
    const { tensors: stored } = await readSafetensors(form(name, 'model.safetensors'));
    assert.equal(tensors.map((tensor) => tensor.name).sort(), Object.values(names).sort());
    for (const [theirs, ours] of Object.entries(names)) {
      const { data } = tensors.find((tensor) => tensor.name === ours);
      assert.equal(data, stored.get(theirs).data, theirs);
    }
  });
}

test('a head of speech recognition is none of emotions unless it is asked for', async () => {
  const model = await loadPretrained(form('ctc'));
  assert.is(model.form, 'encoder');
  assert.is(model.head, undefined);
  assert.equal(model.ignored.sort(), ['lm_head.bias', 'lm_head.weight']);
  await refused(loadPretrained(form('hubert'), { head: 'ctc-mean' }), 'ERR_HEAD', /lm_head\.weight of it is missing/);
});

/** A copy of a form with its config and its tensors changed. */
async function changed(name, { config = {}, tensors = () => {}, files = {} }) {
  const directory = mkdtempSync(join(scratch, name));
  cpSync(form(name), directory, { recursive: true });
  const file = join(directory, 'config.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file)), ...config }));
  for (const [path, text] of Object.entries(files)) writeFileSync(join(directory, path), text);
  const weights = join(directory, 'model.safetensors');
  const held = await readSafetensors(weights).catch(() => undefined);
  if (held === undefined) return directory;
  tensors(held.tensors);
  await writeSafetensors(weights, held.tensors.values());
  return directory;
}
const zeros = (...shape) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });

test('a tensor that is not understood is refused by its name, and the encoder can be had alone', async () => {
  const directory = await changed('hubert', {
    tensors: (all) => all.set('gate.weight', { name: 'gate.weight', ...zeros(16, 16) }),
  });
  const error = await refused(loadPretrained(directory), 'ERR_HEAD', /gate\.weight, which is neither/);
  assert.is(error.tensor, 'gate.weight');
  const { form: read, head, ignored } = await loadPretrained(directory, { head: 'none' });
  assert.is(read, 'encoder');
  assert.is(head, undefined);
  assert.ok(ignored.includes('gate.weight') && ignored.includes('classifier.weight'));
  const encoder = keep(await Encoder.load(directory, { threads: 1 }));
  assert.is((await encoder.encode(voice)).dimension, 16);
});

test('what training leaves in a checkpoint is not taken for a head', async () => {
  const left = [
    'quantizer.codevectors',
    'project_q.weight',
    'project_hid.bias',
    'lm_head.weight',
    '_ema.x',
    'decoder.proj.bias',
  ];
  const directory = await changed('hubert', {
    tensors: (all) => {
      for (const name of left) all.set(name, { name, ...zeros(4) });
    },
  });
  const model = await loadPretrained(directory);
  assert.is(model.form, 'sequence-classification');
  assert.equal(model.ignored.sort(), left.sort());
});

test('a head that is not whole, or of another width, is refused by the name of the tensor', async () => {
  for (const [name, tensor] of [
    ['hubert', 'projector.bias'],
    ['hubert_sum', 'layer_weights'],
    ['audeering', 'classifier.out_proj.weight'],
    ['ehcalabres', 'classifier.dense.bias'],
  ]) {
    const missing = await changed(name, { tensors: (all) => all.delete(tensor) });
    const error = await refused(loadPretrained(missing), 'ERR_HEAD', /is missing/);
    assert.is(error.tensor, tensor);
    const other = await changed(name, { tensors: (all) => Object.assign(all.get(tensor), zeros(7, 5)) });
    await refused(loadPretrained(other), 'ERR_TENSOR', new RegExp(tensor.replaceAll('.', '\\.')));
  }
  const unused = await changed('hubert_sum', { config: { use_weighted_layer_sum: false } });
  await refused(loadPretrained(unused), 'ERR_HEAD', /layer_weights, while use_weighted_layer_sum/);
});

test('what the config asks of a head and cannot be done is refused', async () => {
  const config = (values) => changed('audeering', { config: values });
  await refused(loadPretrained(await config({ pooling_mode: 'median' })), 'ERR_HEAD', /pooling_mode.*"median"/);
  await refused(
    loadPretrained(await config({ problem_type: 'multi_label_classification' })),
    'ERR_HEAD',
    /multi_label_classification/,
  );
  await refused(
    loadPretrained(await config({ id2label: { 0: 'a', 1: 'b' } })),
    'ERR_HEAD',
    /3 outputs, and config\.json names 2/,
  );
  await refused(
    loadPretrained(await config({ id2label: { 0: 'a', 1: 'b', 2: 'a' } })),
    'ERR_HEAD',
    /gives the name a to two/,
  );
});

test('labels are those of id2label, else of label2id, else numbered, as in transformers', async () => {
  const labels = async (config) => (await loadPretrained(await changed('hubert', { config }))).head.labels;
  assert.equal(await labels({ id2label: undefined }), four);
  // One index twice, so that another has no name.
  assert.equal(await labels({ id2label: { 0: 'a', '00': 'b', 1: 'c', 3: 'd' } }), four);
  assert.equal(await labels({ id2label: undefined, label2id: undefined }), [
    'LABEL_0',
    'LABEL_1',
    'LABEL_2',
    'LABEL_3',
  ]);
  const words = { labels: undefined, id2label: undefined, label2id: undefined };
  const named = await changed('ctc', { config: words, files: { 'vocab.json': '{"b": 1, "a": 0, "d": 3, "c": 2}' } });
  assert.equal((await loadPretrained(named, { head: 'ctc-mean' })).head.labels, ['a', 'b', 'c', 'd']);
  const unnamed = await changed('ctc', { config: words });
  await refused(loadPretrained(unnamed, { head: 'ctc-mean' }), 'ERR_HEAD', /nothing names its 4 outputs/);
});

test('outputs that are named as dimensions are values, unless the config says otherwise', async () => {
  const task = async (config) => (await loadPretrained(await changed('audeering', { config }))).head.task;
  assert.is(await task({ problem_type: undefined }), 'regression');
  assert.is(await task({ problem_type: undefined, id2label: { 0: 'arousal', 1: 'sad', 2: 'valence' } }), undefined);
  assert.is(await task({ problem_type: 'single_label_classification' }), undefined);
});

test('the encoder of an Odyssey baseline is what its weights show, or what its config says where it does', async () => {
  const published = await loadPretrained(form('odyssey'));
  assert.equal(published.config.shape.positionBias, { kind: 'buckets', buckets: 32, reach: 800 });
  assert.is(published.config.shape.heads, 2);
  const raw = JSON.parse(readFileSync(form('wavlm_sum', 'config.json')));
  const { model_type, id2label, label2id, ...fields } = raw;
  for (const config of [{ wavlm_config: raw }, fields]) {
    const stated = await loadPretrained(await changed('odyssey', { config }));
    assert.equal(stated.config.shape, published.config.shape);
    assert.equal(stated.normalize, published.normalize);
    assert.equal(stated.head.labels, dimensions);
  }
  await refused(loadPretrained(await changed('odyssey', { config: { mean: null } })), 'ERR_MODEL_CONFIG', /mean/);
  const unnamed = await loadPretrained(await changed('odyssey', { config: { id2label: undefined } }));
  assert.equal([unnamed.head.labels, unnamed.head.task], [dimensions, 'regression']);
  const strange = await changed('odyssey', {
    tensors: (all) => {
      const [name] = [...all.keys()].filter((key) => key.endsWith('feature_extractor.conv_layers.0.conv.weight'));
      const [outputs, inputs] = all.get(name).shape;
      all.set(name, { name, ...zeros(outputs, inputs, 9) });
    },
  });
  await refused(loadPretrained(strange), 'ERR_MODEL_CONFIG', /kernels 9, .*strides are not known/);
  const other = await loadPretrained(await changed('hubert', { config: { mean: 0.5 } }));
  assert.equal([other.form, other.normalize], ['sequence-classification', false]);
});

test("emotion2vec's weights alone say what they are, where fairseq saved them, and lack the labels alone", async () => {
  const published = await loadPretrained(form('emotion2vec_plus'));
  const file = join(mkdtempSync(join(scratch, 'alone')), 'emotion2vec.pt');
  cpSync(form('emotion2vec_plus', 'model.pt'), file);
  await refused(loadPretrained(file), 'ERR_HEAD', /tokens\.txt, which names its 5 outputs, is not beside it/);
  const { config, normalize } = await loadPretrained(file, { head: 'none' });
  assert.equal(config.shape, published.config.shape);
  assert.equal(normalize, published.normalize);
  cpSync(form('emotion2vec_plus', 'tokens.txt'), join(file, '..', 'tokens.txt'));
  assert.equal((await loadPretrained(file)).head, published.head);
});

test('a modality of data2vec other than audio is not taken for it', () => {
  const of = (name) => ({ name, shape: [16], read: async () => new Float32Array(16) });
  const own = ['local_encoder.conv_layers.0.0.weight', 'context_encoder.norm.weight'].map((name) =>
    of(`modality_encoders.AUDIO.${name}`),
  );
  const image = of('modality_encoders.IMAGE.context_encoder.norm.weight');
  const { tensors, ignored } = emotion2vecTensors([...own, image]);
  assert.equal([...tensors.keys()], ['feature_extractor.conv_layers.0.conv.weight', 'encoder.layer_norm.weight']);
  assert.equal(ignored, [image.name]);
});

test("emotion2vec's files are read as data, and what cannot be done is refused", async () => {
  const settings = readFileSync(form('emotion2vec', 'config.yaml'), 'utf8');
  const read = async (changes) => {
    const directory = mkdtempSync(join(scratch, 'emotion2vec'));
    cpSync(form('emotion2vec'), directory, { recursive: true });
    for (const [file, text] of Object.entries(changes)) writeFileSync(join(directory, file), text);
    return loadPretrained(join(directory, 'model.pt'));
  };
  const asItIs = await read({ 'config.yaml': settings.replace('normalize: true', 'normalize: false') });
  assert.is(asItIs.normalize, false);
  const refusal = (from, to) => read({ 'config.yaml': settings.replace(from, to) });
  await refused(refusal('layer_norm_first: false', 'layer_norm_first: true'), 'ERR_MODEL_CONFIG', /layer_norm_first/);
  await refused(refusal('learned_alibi: false', 'learned_alibi: true'), 'ERR_MODEL_CONFIG', /learned_alibi/);
  await refused(refusal("'[(8, 10, 5)]", "'__import__"), 'ERR_MODEL_CONFIG', /feature_encoder_spec/);
  await refused(refusal('embed_dim: 16', 'embed_dim: 32'), 'ERR_TENSOR', /shape/);
  for (const nested of ['['.repeat(101), '- '.repeat(101), `${' '.repeat(201)}a: 1`]) {
    await refused(read({ 'config.yaml': `${settings}x:\n${nested}` }), 'ERR_CHECKPOINT', /more than 100 deep/);
  }
  await refused(read({ 'config.yaml': `# ${'x'.repeat(32768)}` }), 'ERR_CHECKPOINT', /32768 characters/);
  await refused(read({ 'tokens.txt': '生气/angry\n' }), 'ERR_HEAD', /5 outputs, and tokens\.txt names 1/);
});

test("speechbrain's files are read as data, and what they do not say is asked for", async () => {
  const settings = readFileSync(form('speechbrain', 'hyperparams.yaml'), 'utf8');
  const read = async (files) => loadPretrained(await changed('speechbrain', { files }));
  const plain = await read({ 'hyperparams.yaml': settings.replace('output_norm: True', 'output_norm: False') });
  assert.equal(plain.head.layers, { bias: false });
  const wavlm = await read({
    'hyperparams.yaml': settings.replace('facebook/wav2vec2-base', 'microsoft/wavlm-base-plus'),
  });
  assert.is(wavlm.normalize, false);
  // A feature extractor beside it says whether; how is speechbrain's own.
  for (const [stated, normalize] of [
    [false, false],
    [true, { epsilon: 1e-5 }],
  ]) {
    const extractor = { 'preprocessor_config.json': JSON.stringify({ do_normalize: stated }) };
    assert.equal((await read(extractor)).normalize, normalize);
  }
  const silent = { 'hyperparams.yaml': settings.replace('output_norm: True', '') };
  await refused(read(silent), 'ERR_CHECKPOINT', /output_norm/);
  await refused(read({ 'hyperparams.yaml': 'a: [' }), 'ERR_CHECKPOINT', /not valid YAML/);
  await refused(read({ 'label_encoder.txt': "'neu' => 0\n'ang' => 9\n" }), 'ERR_CHECKPOINT', /'ang' => 9/);
  for (const line of ["the 'ang' => 1", "'ang' ="]) {
    const text = `'neu' => 0\n${line}\n'hap' => 2\n'sad' => 3\n====\n`;
    await refused(read({ 'label_encoder.txt': text }), 'ERR_CHECKPOINT', new RegExp(line));
  }
  await refused(read({ 'label_encoder.txt': "'neu' => 0\n'ang' => 1\n====\n" }), 'ERR_HEAD', /4 outputs.*names 2/);
});

test("a feature extractor inside transformers 5's processor says how audio is normalised", async () => {
  const read = async (processor, preprocessor) => {
    const files = { 'processor_config.json': JSON.stringify(processor) };
    const directory = await changed('wav2vec2', { files });
    if (preprocessor === undefined) rmSync(join(directory, 'preprocessor_config.json'));
    return (await loadPretrained(directory)).normalize;
  };
  assert.is(await read({ feature_extractor: { do_normalize: false } }), false);
  assert.is(await read({ processor_class: 'Wav2Vec2Processor' }), true);
  assert.is(await read({ feature_extractor: { do_normalize: false } }, 'kept'), false);
  await refused(
    read({ feature_extractor: { sampling_rate: 8000 } }),
    'ERR_CHECKPOINT',
    /processor_config\.json.*8000 Hz/,
  );
});

test('a model whose weight norm was removed has the hidden states of the model that has it', async () => {
  const name = 'encoder.pos_conv_embed.conv';
  const [g, v] = ['0', '1'].map((i) => `${name}.parametrizations.weight.original${i}`);
  const prefixed = (tensor) => `wav2vec2.${tensor}`;
  const directory = await changed('wav2vec2', {
    tensors: (all) => {
      const magnitude = all.get(prefixed(g)).data;
      const { shape, data } = all.get(prefixed(v));
      const taps = shape[2];
      const norms = new Float64Array(taps);
      for (const [i, value] of data.entries()) norms[i % taps] += value ** 2;
      // One tap of zeros, which has no direction.
      magnitude[3] = 0;
      const weight = data.map((value, i) => (magnitude[i % taps] * value) / Math.sqrt(norms[i % taps]));
      all.delete(prefixed(g));
      all.delete(prefixed(v));
      all.set(prefixed(`${name}.weight`), { name: prefixed(`${name}.weight`), shape, data: weight });
    },
  });
  const normed = await changed('wav2vec2', { tensors: (all) => (all.get(prefixed(g)).data[3] = 0) });
  const states = async (path) => {
    const encoder = keep(await Encoder.load(path, { threads: 1 }));
    return (await encoder.encode(voice)).hidden;
  };
  const [removed, whole] = [await states(directory), await states(normed)];
  const worst = whole.reduce((most, value, i) => Math.max(most, Math.abs(value - removed[i])), 0);
  assert.ok(worst < 1e-5, `${worst}`);
});

test.run();
