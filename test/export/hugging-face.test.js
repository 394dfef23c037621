import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, exportModel, loadPretrained, readSafetensors } from '../../dist/index.js';
import { settings, writeAlignedPredictor } from '../support/alignedPredictor.js';
import { heads, writeHeadPredictor } from '../support/headPredictor.js';
import { refused } from '../support/refused.js';
import { fixtures, labels, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('export: Hugging Face directory');
const voice = join(fixtures, 'audio', 'voice.wav');
let dir;
let predictor;
let averaging;
let counter = 0;
test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-export-'));
  predictor = await writeTinyPredictor(join(dir, 'predictor'), { form: 'large' });
  averaging = await writeTinyPredictor(join(dir, 'averaging'), { pooling: 'mean' });
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

const fresh = () => join(dir, `export${counter++}`);
const json = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'));
const toHf = async (model, options = {}) => {
  const out = fresh();
  return { out, result: await exportModel(model, { format: 'hf', out, ...options }) };
};

/** Predictions of a directory, clusters and all. */
async function predict(model) {
  const emotions = await EmotionModel.load(model);
  const prediction = await emotions.predict(voice);
  await emotions.dispose();
  return prediction;
}

test('weights, labels and input are written to transformers’ files', async () => {
  const { out, result } = await toHf(predictor);
  const { metadata, tensors } = await readSafetensors(join(out, 'model.safetensors'));
  assert.equal(metadata, { format: 'pt' });
  const { tensors: expected } = await loadPretrained(predictor);
  assert.equal([...tensors.keys()].sort(), [...expected.keys()].sort());
  for (const [name, { data, shape }] of expected) {
    assert.equal(tensors.get(name).shape, shape, name);
    assert.equal(tensors.get(name).data, data, name);
  }
  const config = json(out, 'config.json');
  assert.equal(config.architectures, ['HubertModel']);
  assert.is(config.model_type, 'hubert');
  assert.equal(Object.values(config.id2label), labels);
  assert.equal(config.label2id.sad, 3);
  assert.is(json(out, 'preprocessor_config.json').do_normalize, true);
  assert.equal(
    result.files.map(({ path }) => path),
    readdirSync(out, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(out.length + 1))
      .sort(),
  );
  for (const { path, bytes } of result.files) assert.is(bytes, readFileSync(join(out, path)).length, path);
});

test('where a model was loaded from, as transformers keeps it, stays private', async () => {
  const source = await writeTinyPredictor(join(dir, 'private'));
  for (const part of [source, join(source, 'clusters')]) {
    const config = { ...json(part, 'config.json'), _name_or_path: '/home/me/secret' };
    writeFileSync(join(part, 'config.json'), JSON.stringify(config));
  }
  const { out, result } = await toHf(source);
  for (const { path } of result.files) assert.not.match(readFileSync(join(out, path), 'latin1'), 'secret', path);
});

test('emoframe gives the same with it, clusters included', async () => {
  const { out } = await toHf(predictor);
  assert.equal(await predict(out), await predict(predictor));
});

test('clusters can be left out', async () => {
  const { out } = await toHf(predictor, { clusters: false });
  assert.not.ok(existsSync(join(out, 'clusters')));
  const { frames } = await predict(out);
  assert.not.ok('cluster' in frames[0]);
});

test('an alignment network goes with the head: every tensor, what it is, and how much it counts', async () => {
  const calibration = { classifier: 0.5, alignment: 2 };
  for (const pooling of ['attention', null]) {
    const source = await writeAlignedPredictor(fresh(), { pooling, calibration });
    const { out } = await toHf(source);
    const described = json(out, 'emoframe.json');
    assert.equal(described, json(source, 'emoframe.json'));
    assert.equal(
      [described.alignment, described.calibration, described.pooling],
      [settings, calibration, pooling ?? undefined],
    );
    const [found, expected] = await Promise.all(
      [out, source].map((at) => readSafetensors(join(at, 'head.safetensors'))),
    );
    assert.equal([...found.tensors.keys()], [...expected.tensors.keys()]);
    assert.is([...found.tensors.keys()].filter((name) => name.startsWith('alignment.')).length, 21);
    for (const [name, { shape, data }] of expected.tensors)
      assert.equal([found.tensors.get(name).shape, found.tensors.get(name).data], [shape, data], name);
    // Emotions, posteriors and all, to the bit.
    assert.equal(await predict(out), await predict(source));
  }
});

test('HubertForSequenceClassification: where frames are pooled by their mean', async () => {
  const { out } = await toHf(averaging, { architecture: 'HubertForSequenceClassification' });
  const { tensors } = await readSafetensors(join(out, 'model.safetensors'));
  const { tensors: encoder, head } = await loadPretrained(averaging);
  assert.is(tensors.size, encoder.size + 4);
  for (const [name, { data }] of encoder) assert.equal(tensors.get(`hubert.${name}`).data, data, name);
  for (const { name, data } of head.tensors) assert.equal(tensors.get(name).data, data, name);
  // What it projects frames by changes nothing.
  const { shape, data } = tensors.get('projector.weight');
  assert.equal(shape, [16, 16]);
  for (const [i, value] of data.entries()) assert.is(value, i % 17 === 0 ? 1 : 0);
  assert.ok(tensors.get('projector.bias').data.every((value) => value === 0));
  const config = json(out, 'config.json');
  assert.equal(config.architectures, ['HubertForSequenceClassification']);
  assert.equal([config.classifier_proj_size, config.use_weighted_layer_sum], [16, false]);
  assert.equal(await predict(out), await predict(averaging));
});

test('HubertForSequenceClassification: a projector and a sum over layers are the class’s own', async () => {
  const model = await writeHeadPredictor(fresh(), heads['layers, a projector and the mean']);
  const { out } = await toHf(model, { architecture: 'HubertForSequenceClassification' });
  const { tensors } = await readSafetensors(join(out, 'model.safetensors'));
  const { tensors: encoder, head } = await loadPretrained(model);
  assert.is(tensors.size, encoder.size + 5);
  assert.is(head.tensors.length, 5);
  for (const { name, shape, data } of head.tensors)
    assert.equal([tensors.get(name).shape, tensors.get(name).data], [shape, data], name);
  const config = json(out, 'config.json');
  assert.equal([config.classifier_proj_size, config.use_weighted_layer_sum], [12, true]);
});

test('HubertForSequenceClassification: a regression without bias has one of zeros, and is called what it is', async () => {
  const model = await writeHeadPredictor(fresh(), { pooling: 'mean', task: 'regression', layers: { bias: false } });
  const { out } = await toHf(model, { architecture: 'HubertForSequenceClassification' });
  const { tensors } = await readSafetensors(join(out, 'model.safetensors'));
  assert.equal([...tensors.get('classifier.bias').data], [0, 0, 0]);
  const config = json(out, 'config.json');
  assert.equal([config.problem_type, config.id2label[2]], ['regression', 'valence']);
  assert.match(readFileSync(join(out, 'README.md'), 'utf8'), 'model.config.id2label[i]: outputs[i].item()');
});

test('a head of any kind is read back as it was', async () => {
  for (const [name, described] of Object.entries(heads)) {
    const model = await writeHeadPredictor(fresh(), described);
    const { out } = await toHf(model);
    const [found, expected] = [await loadPretrained(out), await loadPretrained(model)];
    assert.equal(found.head, expected.head, name);
    assert.equal([found.head.task, found.head.layers], [described.task, described.layers], name);
  }
});

test('a calibrated model: emoframe finds its weight, and transformers a classifier multiplied by it', async () => {
  const calibrated = await writeTinyPredictor(join(dir, 'calibrated'), {
    pooling: 'mean',
    calibration: { classifier: 0.5 },
  });
  const { out } = await toHf(calibrated, { architecture: 'HubertForSequenceClassification' });
  assert.equal(json(out, 'emoframe.json').calibration, { classifier: 0.5 });
  assert.equal(await predict(out), await predict(calibrated));
  const { tensors } = await readSafetensors(join(out, 'model.safetensors'));
  const { head } = await loadPretrained(calibrated);
  assert.equal(head.tensors.map(({ name }) => name).sort(), ['classifier.bias', 'classifier.weight']);
  for (const { name, data } of head.tensors)
    assert.equal(
      tensors.get(name).data,
      data.map((value) => value * 0.5),
      name,
    );
});

test('HubertForSequenceClassification: refused where it would compute something else', async () => {
  const options = { format: 'hf', architecture: 'HubertForSequenceClassification' };
  const out = fresh();
  await refused(exportModel(predictor, { ...options, out }), 'ERR_HEAD', /by attention, but .* takes their mean/);
  const encoder = join(fixtures, 'encode', 'base');
  await refused(exportModel(encoder, { ...options, out }), 'ERR_HEAD', /has no classifier/);
  for (const [head, message] of [
    [heads['a dense layer on the mean'], /has dense layers between pooling and output/],
    [heads['a norm of the whole output'], /normalises hidden states before its head/],
    [{ pooling: 'sum' }, /by sum, but .* takes their mean/],
    [{ pooling: 'mean', normalize: { epsilon: 1e-5 } }, /brings audio to the model in a way that/],
  ])
    await refused(exportModel(await writeHeadPredictor(fresh(), head), { ...options, out }), 'ERR_HEAD', message);
  // Nothing is left out without a word: not even where what is left would fit.
  for (const pooling of ['mean', null]) {
    const aligned = await writeAlignedPredictor(fresh(), { pooling });
    await refused(
      exportModel(aligned, { ...options, out }),
      'ERR_HEAD',
      /has an alignment network, which .* cannot hold/,
    );
  }
  assert.not.ok(existsSync(out));
});

test('a published model of each family is exported as what it was published as, tensor by tensor', async () => {
  for (const [name, classes, called] of [
    ['hubert', 'Hubert', 'HuBERT'],
    ['wav2vec2_sum', 'Wav2Vec2', 'wav2vec 2.0'],
    ['wavlm', 'WavLM', 'WavLM'],
    ['wavlm_sum', 'WavLM', 'WavLM'],
  ]) {
    const source = join(fixtures, 'forms', name);
    const architecture = `${classes}ForSequenceClassification`;
    const { out, result } = await toHf(source, { architecture });
    const [{ tensors }, { tensors: published }] = await Promise.all(
      [out, source].map((at) => readSafetensors(join(at, 'model.safetensors'))),
    );
    assert.equal([...tensors.keys()].sort(), [...published.keys()].sort(), name);
    for (const [tensor, { shape, data }] of published)
      assert.equal([tensors.get(tensor).shape, tensors.get(tensor).data], [shape, data], tensor);
    const [config, theirs] = [out, source].map((at) => json(at, 'config.json'));
    assert.equal(config.architectures, [architecture]);
    for (const field of ['model_type', 'id2label', 'classifier_proj_size', 'use_weighted_layer_sum'])
      assert.equal(config[field], theirs[field], `${name}: ${field}`);
    assert.equal(result.ignored, []);
    // By default the encoder alone, of the same family, with the head beside it.
    const { out: beside } = await toHf(source);
    assert.equal(json(beside, 'config.json').architectures, [`${classes}Model`]);
    const card = readFileSync(join(beside, 'README.md'), 'utf8');
    assert.match(card, `import AutoFeatureExtractor, ${classes}Model`);
    assert.match(card, `A ${called} (`);
  }
});

test('emotion2vec, for which transformers has no class, is exported as a graph', async () => {
  const source = join(fixtures, 'forms', 'emotion2vec');
  const message = /an encoder of emotion2vec, for which transformers has no class; export it with format onnx/;
  await refused(exportModel(source, { format: 'hf', out: fresh() }), 'ERR_ARGUMENT', message);
  const out = fresh();
  await exportModel(source, { format: 'onnx', out });
  assert.not.ok('architectures' in json(out, 'config.json'));
  const card = readFileSync(join(out, 'README.md'), 'utf8');
  assert.match(card, 'An emotion2vec (');
  assert.match(card, '- emotion2vec\n');
});

test('a class of another family is refused', async () => {
  const out = fresh();
  const asked = (architecture) => exportModel(averaging, { format: 'hf', out, architecture });
  const message = /of HuBERT, which HubertModel and HubertForSequenceClassification read, and not WavLM/;
  await refused(asked('WavLMModel'), 'ERR_ARGUMENT', message);
  await refused(asked('WavLMForSequenceClassification'), 'ERR_ARGUMENT', message);
  assert.not.ok(existsSync(out));
});

test('a model without classifier', async () => {
  const { out } = await toHf(join(fixtures, 'encode', 'base'));
  assert.not.ok(existsSync(join(out, 'emoframe.json')));
  assert.match(readFileSync(join(out, 'README.md'), 'utf8'), 'library_name: transformers');
});

test('a checkpoint of fairseq becomes one of transformers', async () => {
  const source = join(fixtures, 'kinds', 'hubert_fairseq.pt');
  const { out } = await toHf(source);
  const [found, expected] = [await loadPretrained(out), await loadPretrained(source)];
  assert.equal([...found.tensors.keys()].sort(), [...expected.tensors.keys()].sort());
  for (const [name, { data }] of expected.tensors) assert.equal(found.tensors.get(name).data, data, name);
  assert.equal([found.config.shape, found.normalize], [expected.config.shape, expected.normalize]);
});

test('an earlier export is replaced when asked for, of whichever format; nothing else ever is', async () => {
  const { out } = await toHf(predictor);
  await refused(exportModel(averaging, { format: 'hf', out }), 'ERR_WRITE', /is not empty/);
  await exportModel(averaging, { format: 'onnx', out, externalData: true, overwrite: true });
  assert.not.ok(existsSync(join(out, 'clusters')));
  await exportModel(averaging, { format: 'hf', out, clusters: false, overwrite: true });
  assert.not.ok(existsSync(join(out, 'model.onnx_data')));
  writeFileSync(join(out, 'notes.txt'), 'mine');
  await refused(exportModel(predictor, { format: 'hf', out, overwrite: true }), 'ERR_WRITE', /notes\.txt/);
  assert.is(readFileSync(join(out, 'notes.txt'), 'utf8'), 'mine');
  const empty = fresh();
  mkdirSync(empty);
  await exportModel(predictor, { format: 'hf', out: empty });
  rmSync(join(out, 'notes.txt'));
  // In a folder of the export too, and where the files of a model are those of another program.
  await exportModel(predictor, { format: 'hf', out, overwrite: true });
  writeFileSync(join(out, 'clusters', 'notes.txt'), 'mine');
  await refused(exportModel(predictor, { format: 'hf', out, overwrite: true }), 'ERR_WRITE', /clusters\/notes\.txt/);
  rmSync(join(out, 'clusters', 'notes.txt'));
  writeFileSync(join(out, 'README.md'), '# My model\n');
  await refused(
    exportModel(predictor, { format: 'hf', out, overwrite: true }),
    'ERR_WRITE',
    /is not an earlier export/,
  );
  assert.is(readFileSync(join(out, 'README.md'), 'utf8'), '# My model\n');
});

test('a model is not overwritten by its own export', async () => {
  const inside = join(predictor, 'export');
  const around = join(dir, 'around');
  await writeTinyPredictor(join(around, 'clusters'), { clusters: false });
  for (const [model, out] of [
    [predictor, predictor],
    [predictor, inside],
    [join(around, 'clusters'), around],
  ])
    await refused(
      exportModel(model, { format: 'hf', out, overwrite: true }),
      'ERR_ARGUMENT',
      /must lie neither inside the model/,
    );
  assert.ok(existsSync(join(around, 'clusters', 'model.safetensors')));
});

test('options are checked before anything is read', async () => {
  const bad = (options, message) => refused(exportModel('nowhere', options), 'ERR_ARGUMENT', message);
  await bad({ out: 'x', format: 'tflite' }, /Expected one of 'hf', 'onnx' for format but received "tflite"/);
  await bad({ format: 'hf' }, /a string for out but received nothing/);
  await bad({ out: 'x', format: 'hf', externalData: true }, /externalData is for format onnx/);
  await bad({ out: 'x', format: 'onnx', architecture: 'HubertModel' }, /architecture is for format hf/);
  await bad({ out: 'x', format: 'hf', licence: 'mit' }, /no option 'licence'/);
  await refused(exportModel('nowhere', { out: 'x', format: 'hf' }), 'ERR_FILE_NOT_FOUND', /nowhere/);
});

test('progress counts every byte once, and the signal stops the work and leaves nothing', async () => {
  const controller = new AbortController();
  for (const format of ['hf', 'onnx']) {
    const seen = [];
    await exportModel(averaging, { format, out: fresh(), onProgress: (progress) => seen.push(progress) });
    const last = seen.at(-1);
    assert.ok(seen.every(({ doneBytes }, i) => i === 0 || doneBytes > seen[i - 1].doneBytes));
    assert.ok(last.doneBytes <= last.totalBytes && last.doneBytes > 0.9 * last.totalBytes);
  }
  const out = fresh();
  const onProgress = () => controller.abort();
  const stopped = exportModel(averaging, { format: 'onnx', out, signal: controller.signal, onProgress });
  await refused(stopped, 'ERR_ABORTED', /stopped/);
  assert.not.ok(existsSync(out));
});

test.run();
