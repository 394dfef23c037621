import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadPretrained, readSafetensors, savePretrained, splitTensors, writeSafetensors } from '../../dist/index.js';
import { refused } from '../support/refused.js';
import { tinyAlignment } from '../support/tinyPredictor.js';

const fixtures = fileURLToPath(new URL('../fixtures/checkpoints/', import.meta.url));
const expected = JSON.parse(readFileSync(join(fixtures, 'expected.json')));
let scratch;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-pretrained-'));
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

function agree(tensors, truths) {
  assert.equal([...tensors.keys()].sort(), Object.keys(truths).sort());
  for (const [name, truth] of Object.entries(truths)) {
    const { shape, data } = tensors.get(name);
    assert.equal(shape, truth.shape, name);
    const weighted = data.reduce((sum, value, i) => sum + value * ((i % 97) + 1), 0);
    assert.ok(Math.abs(weighted - truth.weighted) <= 1e-6 * (1 + Math.abs(truth.weighted)), `${name}: ${weighted}`);
  }
}

/** A copy of a fixture to spoil. */
function copyOf(name) {
  const directory = join(scratch, name);
  cpSync(join(fixtures, name), directory, { recursive: true });
  return directory;
}
const edit = (path, change) => writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path)))));

test('a base model that transformers saved: tensors, config and no normalisation', async () => {
  const model = await loadPretrained(join(fixtures, 'base'));
  agree(model.tensors, expected.base);
  assert.is(model.normalize, false);
  assert.is(model.config.shape.groupNorm, true);
  assert.is(model.config.shape.hiddenSize, 16);
  assert.equal(model.ignored, []);
  assert.is(model.head, undefined);
});

test('a large model that transformers saved, with normalisation', async () => {
  const model = await loadPretrained(join(fixtures, 'large'));
  agree(model.tensors, expected.large);
  assert.is(model.normalize, true);
  assert.is(model.config.shape.stableLayerNorm, true);
});

test('an old checkpoint: pickle, prefix, weight_g and weight_v, another head; normalised as nothing says otherwise', async () => {
  const model = await loadPretrained(join(fixtures, 'old'));
  agree(model.tensors, expected.old);
  assert.is(model.tensors.get('encoder.pos_conv_embed.conv.parametrizations.weight.original0').shape.join(), '1,1,16');
  assert.equal(model.ignored.sort(), ['lm_head.bias', 'lm_head.weight']);
  assert.is(model.normalize, true);
});

test('safetensors is preferred to a pickle', async () => {
  const directory = copyOf('base');
  cpSync(join(fixtures, 'hostile.protocol2.bin'), join(directory, 'pytorch_model.bin'));
  agree((await loadPretrained(directory)).tensors, expected.base);
  rmSync(join(directory, 'model.safetensors'));
  await refused(loadPretrained(directory), 'ERR_PICKLE', /posix\.system/);
});

test('what is missing is named', async () => {
  await refused(loadPretrained(join(scratch, 'none')), 'ERR_FILE_NOT_FOUND', /no directory or file .*none/);
  const directory = copyOf('base');
  rmSync(join(directory, 'model.safetensors'));
  await refused(loadPretrained(directory), 'ERR_FILE_NOT_FOUND', /neither model\.safetensors nor pytorch_model\.bin/);
  rmSync(join(directory, 'config.json'));
  const error = await refused(loadPretrained(directory), 'ERR_FILE_NOT_FOUND', /no config\.json/);
  assert.is(error.file, join(directory, 'config.json'));
});

test('files that cannot be used are named', async () => {
  const directory = copyOf('base');
  const preprocessor = join(directory, 'preprocessor_config.json');
  edit(preprocessor, (json) => ({ ...json, sampling_rate: 8000 }));
  await refused(loadPretrained(directory), 'ERR_CHECKPOINT', /8000 Hz/);
  edit(preprocessor, (json) => ({ ...json, sampling_rate: 16000, do_normalize: 'yes' }));
  await refused(loadPretrained(directory), 'ERR_CHECKPOINT', /do_normalize/);
  edit(preprocessor, () => ({}));
  assert.is((await loadPretrained(directory)).normalize, true);
  edit(join(directory, 'config.json'), (json) => ({ ...json, hidden_act: 'relu' }));
  await refused(loadPretrained(directory), 'ERR_MODEL_CONFIG', /hidden_act/);
  writeFileSync(join(directory, 'config.json'), '{"hidden_size": ');
  await refused(loadPretrained(directory), 'ERR_CHECKPOINT', /not valid JSON/);
});

test('weights of another family, and two names for one tensor, are refused', async () => {
  const directory = copyOf('base');
  const weights = join(directory, 'model.safetensors');
  const one = { shape: [1], data: Float32Array.of(1) };
  await writeSafetensors(weights, [{ ...one, name: 'bert.embeddings.weight' }]);
  await refused(loadPretrained(directory), 'ERR_CHECKPOINT', /bert\.embeddings\.weight/);
  await writeSafetensors(weights, [
    { ...one, name: 'masked_spec_embed' },
    { ...one, name: 'hubert.masked_spec_embed' },
  ]);
  const error = await refused(loadPretrained(directory), 'ERR_CHECKPOINT', /twice/);
  assert.is(error.tensor, 'masked_spec_embed');
});

const headTensors = () => [
  { name: 'classifier.weight', shape: [2, 16], data: Float32Array.from({ length: 32 }, (_, i) => i / 7) },
  { name: 'classifier.bias', shape: [2], data: Float32Array.of(1, 2) },
];
const head = (changes) => ({
  kind: 'classifier',
  labels: ['ang', 'neu'],
  pooling: 'attention-linear',
  info: { fold: 'Ses01', ua: 0.7 },
  tensors: headTensors(),
  ...changes,
});

test('a model with a head is saved and loaded to the bit', async () => {
  const source = await loadPretrained(join(fixtures, 'large'));
  const directory = join(scratch, 'predictor');
  await savePretrained(directory, { ...source, normalize: false, head: head() });
  const loaded = await loadPretrained(directory);
  for (const [name, { data }] of source.tensors) {
    assert.ok(Buffer.from(loaded.tensors.get(name).data.buffer).equals(Buffer.from(data.buffer)), name);
  }
  assert.is(loaded.normalize, false);
  assert.equal(loaded.config.shape, source.config.shape);
  const byName = (a, b) => (a.name < b.name ? -1 : 1);
  assert.equal(
    { ...loaded.head, tensors: loaded.head.tensors.sort(byName) },
    head({ tensors: headTensors().sort(byName) }),
  );
});

test('config.json says what the directory holds, not what it came from', async () => {
  const source = await loadPretrained(join(fixtures, 'old'));
  source.config.raw = { ...source.config.raw, architectures: ['HubertForCTC'], dtype: 'float16', mine: [1] };
  await savePretrained(scratch, source);
  const saved = JSON.parse(readFileSync(join(scratch, 'config.json')));
  assert.equal(saved.architectures, ['HubertModel']);
  assert.is(saved.torch_dtype, 'float32');
  assert.is(saved.dtype, undefined);
  assert.is(saved.model_type, 'hubert');
  assert.equal(saved.mine, [1]);
  assert.is((await readSafetensors(join(scratch, 'model.safetensors'))).metadata.format, 'pt');
});

test('every way of normalising waveforms is saved, and told to transformers as near as it can be', async () => {
  const source = await loadPretrained(join(fixtures, 'base'));
  const ways = [
    [true, true],
    [false, false],
    [{ epsilon: 1e-5 }, true],
    [{ mean: 0.5, scale: 2 }, false],
  ];
  for (const [i, [normalize, told]] of ways.entries()) {
    const directory = join(scratch, String(i));
    await savePretrained(directory, { ...source, normalize });
    const saved = JSON.parse(readFileSync(join(directory, 'preprocessor_config.json')));
    assert.is(saved.do_normalize, told, JSON.stringify(normalize));
    assert.equal((await loadPretrained(directory)).normalize, normalize);
  }
});

test('saving again replaces all of the former model, and files added by the caller come with it', async () => {
  const source = await loadPretrained(join(fixtures, 'base'));
  const directory = join(scratch, 'model');
  await savePretrained(directory, { ...source, head: head() }, async (temporary) => {
    mkdirSync(join(temporary, 'clusters'));
    writeFileSync(join(temporary, 'clusters', 'centroids.safetensors'), '');
  });
  assert.ok(readdirSync(directory).includes('clusters'));
  await savePretrained(directory, source);
  assert.equal(readdirSync(directory).sort(), ['config.json', 'model.safetensors', 'preprocessor_config.json']);
  assert.is((await loadPretrained(directory)).head, undefined);
});

test("a directory of someone else's files is not replaced", async () => {
  const source = await loadPretrained(join(fixtures, 'base'));
  writeFileSync(join(scratch, 'notes.txt'), 'mine');
  await refused(savePretrained(scratch, source), 'ERR_WRITE', /notes\.txt/);
  assert.equal(readdirSync(scratch), ['notes.txt']);
});

test('heads among the encoder tensors are refused, and splitTensors parts them', async () => {
  const source = await loadPretrained(join(fixtures, 'base'));
  const all = [...source.tensors.values(), ...headTensors()];
  const mixed = { ...source, tensors: all };
  const error = await refused(savePretrained(join(scratch, 'x'), mixed), 'ERR_TENSOR', /classifier\.weight/);
  assert.is(error.tensor, 'classifier.weight');
  const { encoder, head: heads } = splitTensors(all);
  assert.is(encoder.length, source.tensors.size);
  assert.equal(
    heads.map(({ name }) => name),
    ['classifier.weight', 'classifier.bias'],
  );
});

test('a head without labels, or with one twice, is not saved', async () => {
  const source = await loadPretrained(join(fixtures, 'base'));
  const save = (changes) => savePretrained(join(scratch, 'x'), { ...source, head: head(changes) });
  await refused(save({ labels: [] }), 'ERR_CHECKPOINT', /needs labels/);
  await refused(save({ labels: ['a', 'a'] }), 'ERR_CHECKPOINT', /differ/);
  await save({ kind: 'masked-prediction', labels: [] });
});

test('a head is written in the oldest format that can hold it, which earlier versions read', async () => {
  const source = await loadPretrained(join(fixtures, 'base'));
  const written = async (changes) => {
    await savePretrained(join(scratch, 'model'), { ...source, head: head(changes) });
    return JSON.parse(readFileSync(join(scratch, 'model', 'emoframe.json'))).format;
  };
  for (const pooling of ['mean', 'stats']) assert.is(await written({ pooling }), 1);
  const layers = { source: 'layers', inputNorm: 'frame', dense: [{ width: 16, activation: 'tanh' }] };
  for (const changes of [{ task: 'regression' }, { pooling: 'max' }, { layers }]) assert.is(await written(changes), 2);
});

test('a head file that cannot be used is named', async () => {
  const source = await loadPretrained(join(fixtures, 'base'));
  const directory = join(scratch, 'model');
  await savePretrained(directory, { ...source, head: head() });
  const file = join(directory, 'emoframe.json');
  edit(file, (json) => ({ ...json, format: 3 }));
  await refused(loadPretrained(directory), 'ERR_CHECKPOINT', /format 3.*newer version/);
  edit(file, (json) => ({ ...json, format: 1, pooling: 'median' }));
  await refused(loadPretrained(directory), 'ERR_CHECKPOINT', /pooling/);
  const alignment = { ...tinyAlignment, neutral: 0 };
  edit(file, (json) => ({ ...json, pooling: 'mean', task: 'regression', alignment }));
  await refused(loadPretrained(directory), 'ERR_CHECKPOINT', /regression may not have an alignment network/);
  edit(file, ({ task: _, alignment: __, ...json }) => json);
  edit(file, (json) => ({ ...json, pooling: 'mean' }));
  rmSync(join(directory, 'head.safetensors'));
  await refused(loadPretrained(directory), 'ERR_FILE_NOT_FOUND', /head\.safetensors/);
});

test.run();
