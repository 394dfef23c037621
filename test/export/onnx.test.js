// What an exported graph holds. That it computes what the engine does is shown by test/slow/onnx.js, in ONNX Runtime.
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  Engine,
  exportModel,
  loadPretrained,
  packLocally,
  readSafetensors,
  writeSafetensors,
} from '../../dist/index.js';
import { Graph } from '../../dist/onnx/graph.js';
import { ModelProtoSchema } from '../../dist/onnx/onnx_pb.js';
import { writeOnnx } from '../../dist/onnx/write.js';
import { loadClassifier } from '../../dist/predict/loadModel.js';
import { packageVersion } from '../../dist/version.js';
import { settings, writeAlignedPredictor } from '../support/alignedPredictor.js';
import { heads, writeHeadPredictor } from '../support/headPredictor.js';
import { refused } from '../support/refused.js';
import { generator, speechLike } from '../support/syntheticRun.js';
import { fixtures, labels, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('export: ONNX');
let dir;
let counter = 0;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-onnx-'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

const fresh = (name) => join(dir, `${name}${counter++}`);
const predictor = (options) => writeTinyPredictor(fresh('model'), { clusters: false, ...options });
const aligned = (options) => writeAlignedPredictor(fresh('aligned'), options);
const bytesOf = (file) => new Uint8Array(readFileSync(file));
const parse = (file) => fromBinary(ModelProtoSchema, bytesOf(file));

/** An export and its graph, as a reader of the format sees it. */
async function exported(model, options = {}) {
  const out = fresh('export');
  await exportModel(model, { format: 'onnx', out, ...options });
  return { out, model: parse(join(out, 'model.onnx')) };
}

const floats = (bytes) => new Float32Array(bytes.slice().buffer);
const shapeOf = ({ type }) =>
  type.value.value.shape.dim.map(({ value }) => (value.case === 'dimParam' ? value.value : Number(value.value)));
const tensorsOf = ({ graph }) => new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));

test('inputs, outputs, operators and what the file says of itself', async () => {
  const { model } = await exported(await predictor({ form: 'large', pooling: 'attention' }));
  assert.equal([model.irVersion, model.opsetImport[0].version, model.opsetImport[0].domain], [8n, 17n, '']);
  assert.equal([model.producerName, model.producerVersion], ['emoframe', packageVersion()]);
  assert.equal(
    model.graph.input.map((value) => [value.name, shapeOf(value)]),
    [['input_values', ['batch', 'samples']]],
  );
  assert.equal(
    model.graph.output.map((value) => [value.name, shapeOf(value)]),
    [
      ['logits', ['batch', 4]],
      ['frame_posteriors', ['batch', 'frames', 4]],
      ['attention', ['batch', 'frames']],
    ],
  );
  const [{ key, value }] = model.metadataProps;
  assert.is(key, 'emoframe');
  assert.equal(JSON.parse(value), {
    version: packageVersion(),
    labels,
    pooling: 'attention',
    sampleRate: 16000,
    frameHopSeconds: 0.02,
    frameSeconds: 0.025,
    minimumSamples: 400,
    normalized: true,
  });
});

test('the waveform is normalised in the graph of models that want it, and of no others', async () => {
  for (const [form, normalizes] of [
    ['large', true],
    ['base', false],
  ]) {
    const { model } = await exported(await predictor({ form }));
    const names = model.graph.node.map(({ name }) => name.split('/')[0]);
    assert.is(names.includes('normalize'), normalizes, form);
  }
});

test('logits of a calibrated classifier are multiplied by its weight, frame posteriors are not', async () => {
  const factor = async (calibration) => {
    const { model } = await exported(await predictor({ pooling: 'mean', calibration }));
    const made = new Map(model.graph.node.flatMap((node) => node.output.map((output) => [output, node])));
    const product = made.get(made.get('logits').input[0]);
    assert.is(made.get(made.get('frame_posteriors').input[0]).opType, 'Add');
    if (product.opType !== 'Mul') return undefined;
    return floats(tensorsOf(model).get(product.input[1]).rawData)[0];
  };
  assert.is(await factor({ classifier: 0.5 }), 0.5);
  assert.is(await factor(undefined), undefined);
});

test('a regression: values in place of logits, without a softmax', async () => {
  const head = heads['a dense layer on the mean'];
  const { model, out } = await exported(await writeHeadPredictor(fresh('head'), head));
  assert.equal(
    model.graph.output.map((value) => [value.name, shapeOf(value)]),
    [
      ['values', ['batch', 3]],
      ['frame_values', ['batch', 'frames', 3]],
      ['attention', ['batch', 'frames']],
    ],
  );
  const described = JSON.parse(model.metadataProps[0].value);
  assert.equal(described.labels, ['arousal', 'dominance', 'valence']);
  assert.equal(
    [described.task, described.pooling, described.layers, described.frames],
    ['regression', 'mean', head.layers, { window: 50, hop: 5 }],
  );
  const made = new Map(model.graph.node.flatMap((node) => node.output.map((output) => [output, node])));
  assert.is.not(made.get('frame_values').opType, 'Softmax');
  assert.is(JSON.parse(readFileSync(join(out, 'config.json'))).problem_type, 'regression');
});

test('how audio is brought to the model is part of the graph, whatever it is', async () => {
  const normalization = async (normalize) => {
    const { model } = await exported(await writeHeadPredictor(fresh('head'), { pooling: 'mean', normalize }));
    const own = model.graph.node.filter(({ name }) => name.startsWith('normalize/'));
    const constants = own.flatMap(({ input }) => input).flatMap((name) => tensorsOf(model).get(name) ?? []);
    return {
      operators: own.map(({ opType }) => opType),
      constants: constants.map(({ rawData }) => floats(rawData)[0]),
    };
  };
  assert.equal(await normalization({ mean: 0.5, scale: 4 }), { operators: ['Sub', 'Mul'], constants: [0.5, 4] });
  const { constants } = await normalization({ epsilon: 1e-5 });
  assert.equal(constants, [Math.fround(1e-5)]);
  assert.equal((await normalization(true)).constants, [Math.fround(1e-7)]);
});

/** The graph that an operator runs, if any. */
const bodyOf = ({ attribute }) => attribute.find(({ name }) => name === 'body')?.g;
const integersOf = ({ attribute }, wanted) => {
  const { i, ints } = attribute.find(({ name }) => name === wanted);
  return ints.length > 0 ? ints.map(Number) : Number(i);
};

/** Follows a graph, and those that its operators run, in the order in which they do. */
function follow({ node, output }, known, read) {
  const make = (value) => {
    assert.not.ok(known.has(value), `${value} is made twice`);
    known.add(value);
  };
  for (const operator of node) {
    for (const value of operator.input) {
      assert.ok(known.has(value), `${operator.name} reads ${value}`);
      read.add(value);
    }
    const body = bodyOf(operator);
    if (body) {
      // Of the states and slices of one step, all values of the outer graph, and of nothing else.
      assert.is(body.input.length, operator.input.length);
      assert.is(body.output.length, operator.output.length);
      assert.is(body.initializer.length, 0);
      for (const { name } of body.input) make(name);
      follow(body, known, read);
    }
    for (const value of operator.output) make(value);
  }
  for (const { name } of output) assert.ok(known.has(name), name);
}

test('every value is made before it is read, and every name is one value', async () => {
  const models = [];
  for (const form of ['base', 'large']) {
    for (const pooling of ['mean', 'attention', 'attention-linear', 'stats'])
      models.push(await predictor({ form, pooling }));
    models.push(
      await aligned({ form, alignment: { melBands: 40 } }),
      await aligned({ form, pooling: null, alignment: { source: 'layers' } }),
    );
  }
  for (const head of Object.values(heads)) models.push(await writeHeadPredictor(fresh('head'), head));
  for (const source of models) {
    const { model } = await exported(source);
    const known = new Set(['input_values', ...model.graph.initializer.map(({ name }) => name)]);
    assert.is(known.size, 1 + model.graph.initializer.length);
    const read = new Set();
    follow(model.graph, known, read);
    // Nothing is carried that no operator reads.
    for (const { name } of model.graph.initializer) assert.ok(read.has(name) || readWithin(model.graph, name), name);
  }
});

/** Whether a graph that an operator runs reads a value of the outer one. */
const readWithin = ({ node }, value) =>
  node.some((operator) => bodyOf(operator)?.node.some(({ input }) => input.includes(value)));

test('an alignment network: outputs, and what the file says of it', async () => {
  const calibration = { classifier: 0.5, alignment: 2 };
  const both = await exported(await aligned({ calibration }));
  assert.equal(
    both.model.graph.output.map((value) => [value.name, shapeOf(value)]),
    [
      ['logits', ['batch', 4]],
      ['frame_posteriors', ['batch', 'frames', 4]],
      ['attention', ['batch', 'frames']],
      ['frame_logits', ['batch', 'frames', 4]],
    ],
  );
  const described = JSON.parse(both.model.metadataProps[0].value);
  assert.equal([described.pooling, described.alignment, described.calibration], ['attention', settings, calibration]);
  // Without a pooled classifier, nothing of the transformer is computed for what reads the convolutions alone.
  const alone = await exported(await aligned({ pooling: null }));
  const { alignment, ...rest } = JSON.parse(alone.model.metadataProps[0].value);
  assert.equal(alignment, settings);
  assert.not.ok('pooling' in rest || 'calibration' in rest);
  assert.equal(
    alone.model.graph.output.map(({ name }) => name),
    both.model.graph.output.map(({ name }) => name),
  );
  assert.not.ok(alone.model.graph.node.some(({ name }) => name.startsWith('encoder.')));
  assert.not.ok([...tensorsOf(alone.model).keys()].some((name) => name.startsWith('encoder.')));
});

test('the paths of islands are one recurrence forwards and one backwards over the frames', async () => {
  const { model } = await exported(await aligned({}));
  const scans = model.graph.node.filter(({ opType }) => opType === 'Scan');
  assert.equal(
    scans.map((scan) => [integersOf(scan, 'scan_input_directions'), integersOf(scan, 'scan_output_directions')]),
    [
      [[0], [0, 0]],
      [[1], [1]],
    ],
  );
  for (const scan of scans) {
    assert.is(integersOf(scan, 'num_scan_inputs'), 1);
    assert.equal(integersOf(scan, 'scan_input_axes'), [1]);
    assert.ok(integersOf(scan, 'scan_output_axes').every((axis) => axis === 1));
  }
  // The costs of a change are the predictor's own.
  const moves = model.graph.initializer.find(({ dims }) => dims.join() === '3,3');
  const [stay, leave, never] = floats(moves.rawData);
  assert.ok(Math.abs(stay + Math.log1p(Math.exp(-2.5))) < 1e-6);
  assert.ok(Math.abs(leave + Math.log1p(Math.exp(2.5))) < 1e-6);
  assert.ok(never < -1e29);
});

test('log-mel bands of sound as it is brought to the network: those of the engine, behind the columns of its source', async () => {
  const statistics = { waveform: { mean: 0.1, scale: 3 } };
  const bands = 40;
  const source = await aligned({ form: 'large', pooling: null, alignment: { melBands: bands, statistics } });
  const samples = speechLike(1, generator(5)).map((value) => 0.3 * value + 0.1);
  const engine = Engine.create();
  const { model: classifier } = await loadClassifier(engine, source, 'fp32');
  const { hidden, offsets } = await classifier.alignmentInput(packLocally([samples], 320, statistics));
  engine.dispose();

  const { model } = await exported(source);
  const tensors = tensorsOf(model);
  const made = new Map(model.graph.node.flatMap((node) => node.output.map((output) => [output, node])));
  const operand = (node, i) => made.get(node.input[i]);
  const number = (node) => floats(tensors.get(node.input[1]).rawData)[0];
  const joined = model.graph.node.find(({ name }) => name === 'alignment/Concat');
  assert.match(joined.input[0], 'feature_extractor');
  const log = operand(operand(joined, 1), 0);
  assert.is(log.opType, 'Log');
  const floor = operand(log, 0);
  const product = operand(floor, 0);
  const spectra = operand(operand(operand(product, 1), 0), 0);
  assert.equal([integersOf(spectra, 'kernel_shape'), integersOf(spectra, 'strides')], [[400], [320]]);
  // The same sound as the encoder's.
  const [first] = model.graph.node.filter(({ opType }) => opType === 'Conv');
  const brought = operand(spectra, 0).input[0];
  assert.is(operand(first, 0).input[0], brought);
  const { waveform } = statistics;
  assert.equal([made.get(brought).opType, number(made.get(brought))], ['Mul', waveform.scale]);

  const waves = floats(tensors.get(spectra.input[1]).rawData);
  const filters = floats(tensors.get(product.input[0]).rawData);
  const count = filters.length / bands;
  assert.is(waves.length, 2 * count * 400);
  const frames = offsets[1];
  assert.is(frames, 49);
  const columns = hidden.length / frames;
  for (let t = 0; t < frames; t++) {
    const window = samples.subarray(320 * t, 320 * t + 400);
    const spectrum = Array.from({ length: 2 * count }, (_, k) =>
      window.reduce((sum, value, n) => sum + (value - waveform.mean) * waveform.scale * waves[400 * k + n], 0),
    );
    for (let band = 0; band < bands; band++) {
      let power = number(floor);
      for (let k = 0; k < count; k++)
        power += filters[band * count + k] * (spectrum[k] ** 2 + spectrum[count + k] ** 2);
      const expected = hidden[(t + 1) * columns - bands + band];
      assert.ok(Math.abs(Math.log(power) - expected) < 1e-4, `frame ${t}, band ${band}`);
    }
  }
});

test('log-mel bands that the engine does not know are refused', async () => {
  const refuse = (model, message) =>
    refused(exportModel(model, { format: 'onnx', out: fresh('export') }), 'ERR_HEAD', message);
  await refuse(await aligned({ alignment: { melBands: 300 } }), /melBands are 300, so many/);
  const faster = await aligned({ alignment: { melBands: 40 } });
  const file = join(faster, 'config.json');
  const config = JSON.parse(readFileSync(file));
  writeFileSync(file, JSON.stringify({ ...config, conv_stride: config.conv_stride.with(-1, 1) }));
  await refuse(faster, /400 samples every 320, but the model's frames are 400 samples every 160/);
});

test('weights: linear layers transposed, weight norm folded, all others as they are', async () => {
  const source = await predictor({ form: 'large', pooling: 'stats' });
  const { model } = await exported(source);
  const tensors = tensorsOf(model);
  const { tensors: encoder, head } = await loadPretrained(source);
  const values = (name) => floats(tensors.get(name).rawData);

  const norm = encoder.get('encoder.layers.1.final_layer_norm.weight');
  assert.equal([...values(norm.name)], [...norm.data]);
  const dense = encoder.get('encoder.layers.0.feed_forward.intermediate_dense.weight');
  const [rows, columns] = dense.shape;
  assert.equal(tensors.get(dense.name).dims, [BigInt(columns), BigInt(rows)]);
  const transposed = values(dense.name);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      assert.is(transposed[column * rows + row], dense.data[row * columns + column]);

  const name = 'encoder.pos_conv_embed.conv';
  const [g, v] = [0, 1].map((n) => encoder.get(`${name}.parametrizations.weight.original${n}`));
  const kernel = v.shape[2];
  const folded = values(`${name}.weight`);
  for (let tap = 0; tap < kernel; tap++) {
    const inTap = (data) => [...data].filter((_, i) => i % kernel === tap);
    const length = Math.sqrt(inTap(v.data).reduce((sum, value) => sum + value ** 2, 0));
    for (const [i, value] of inTap(folded).entries())
      assert.ok(Math.abs(value - (g.data[tap] * inTap(v.data)[i]) / length) < 1e-6);
  }

  // The two halves of what statistics pooling gives have a matrix each.
  const classifier = head.tensors.find((tensor) => tensor.name === 'classifier.weight');
  const hidden = classifier.shape[1] / 2;
  const second = values(`classifier.weight[${hidden}:${2 * hidden}]`);
  for (let emotion = 0; emotion < labels.length; emotion++)
    assert.is(second[3 * labels.length + emotion], classifier.data[emotion * 2 * hidden + hidden + 3]);
});

test('external data: the same weights at page boundaries of a file beside the graph', async () => {
  const source = await predictor({ form: 'large', pooling: 'attention' });
  const inside = await exported(source);
  const outside = await exported(source, { externalData: true });
  const data = bytesOf(join(outside.out, 'model.onnx_data'));
  const tensors = tensorsOf(outside.model);
  let moved = 0;
  for (const [name, expected] of tensorsOf(inside.model)) {
    const tensor = tensors.get(name);
    assert.equal(tensor.dims, expected.dims);
    if (tensor.externalData.length === 0) {
      assert.equal(tensor.rawData, expected.rawData, name);
      continue;
    }
    moved++;
    const described = Object.fromEntries(tensor.externalData.map(({ key, value }) => [key, value]));
    assert.is(described.location, 'model.onnx_data');
    assert.is(Number(described.offset) % 4096, 0);
    const [from, length] = [Number(described.offset), Number(described.length)];
    assert.equal(data.slice(from, from + length), expected.rawData, name);
  }
  assert.ok(moved > 10, String(moved));
  assert.ok(statSync(join(outside.out, 'model.onnx')).size < statSync(join(inside.out, 'model.onnx')).size);
  const { 'transformers.js_config': described } = JSON.parse(readFileSync(join(outside.out, 'config.json')));
  assert.equal(described, { use_external_data_format: true });
});

/** A graph that only holds weights, which count how they are read. */
function weightsOnly(count, elements) {
  const memories = new Set();
  const graph = new Graph();
  for (let n = 0; n < count; n++) {
    graph.weight({
      name: `weight${n}`,
      shape: [elements],
      read: async (into) => {
        memories.add(into.buffer);
        return into.subarray(0, elements).fill(n);
      },
    });
  }
  const model = { name: 'weights', description: '', producer: { name: 'test', version: '1' } };
  return { model: { ...model, graph, inputs: [], outputs: [], metadata: {} }, memories };
}

test('a graph that would be too large for one message goes into two files; one that just fits does not', async () => {
  const { model } = weightsOnly(5, 1000);
  const out = dir;
  const externalName = 'large.onnx_data';
  const file = join(out, 'large.onnx');
  assert.equal(await writeOnnx(file, model, { externalName }), ['large.onnx']);
  const { size } = statSync(file);
  assert.equal(await writeOnnx(file, model, { externalName, limitBytes: size }), ['large.onnx']);
  assert.equal(await writeOnnx(file, model, { externalName, limitBytes: size - 1 }), ['large.onnx', externalName]);
  assert.ok(statSync(file).size < size / 10);
  assert.is(parse(file).graph.initializer[4].externalData[0].value, externalName);
});

test('weights pass through the same memory one after another', async () => {
  for (const external of [false, true]) {
    const { model, memories } = weightsOnly(50, 5000);
    await writeOnnx(join(dir, 'flat.onnx'), model, { external, externalName: 'flat.onnx_data' });
    assert.is(memories.size, 1);
  }
});

test('a model without classifier: hidden states', async () => {
  const { model, out } = await exported(join(fixtures, 'encode', 'base'));
  assert.equal(
    model.graph.output.map((value) => [value.name, shapeOf(value)]),
    [['last_hidden_state', ['batch', 'frames', 16]]],
  );
  assert.not.ok('labels' in JSON.parse(model.metadataProps[0].value));
  assert.match(readFileSync(join(out, 'README.md'), 'utf8'), 'pipeline_tag: feature-extraction');
});

test('the same model gives the same bytes', async () => {
  const source = await predictor({});
  const [a, b] = [await exported(source), await exported(source)];
  assert.equal(readFileSync(join(a.out, 'model.onnx')), readFileSync(join(b.out, 'model.onnx')));
});

test('a weight that is missing or of a wrong shape is named, and nothing is left', async () => {
  const source = await predictor({});
  const spoil = async (file, change, message) => {
    const model = fresh('spoilt');
    cpSync(source, model, { recursive: true });
    const { tensors } = await readSafetensors(join(model, file));
    await writeSafetensors(join(model, file), change([...tensors.values()]));
    const out = fresh('export');
    await refused(exportModel(model, { format: 'onnx', out }), 'ERR_TENSOR', message);
    assert.throws(() => statSync(out), /ENOENT/);
  };
  const without = (name) => (tensors) => tensors.filter((tensor) => tensor.name !== name);
  await spoil('model.safetensors', without('encoder.layer_norm.bias'), /encoder\.layer_norm\.bias .* is missing/);
  await spoil('head.safetensors', without('pooling.weight'), /pooling\.weight .* is missing.*\[16\]/);
  const pooled = await writeHeadPredictor(fresh('head'), heads['statistics of layers, two dense layers, no bias']);
  for (const [name, extents] of [
    ['layer_weights', '3'],
    ['dense.0.weight', '16, 32'],
    ['dense.1.norm.bias', '12'],
  ]) {
    const file = join(pooled, 'head.safetensors');
    const { tensors } = await readSafetensors(file);
    await writeSafetensors(file, without(name)([...tensors.values()]));
    const message = new RegExp(`${name.replaceAll('.', '\\.')} .* is missing.*\\[${extents}\\]`);
    await refused(exportModel(pooled, { format: 'onnx', out: fresh('export') }), 'ERR_TENSOR', message);
    await writeSafetensors(file, [...tensors.values()]);
  }
  // Of an alignment network, too.
  const network = await aligned({});
  const file = join(network, 'head.safetensors');
  const { tensors: whole } = await readSafetensors(file);
  await writeSafetensors(file, without('alignment.blocks.2.conv.weight')([...whole.values()]));
  const refuse = (message, code) =>
    refused(exportModel(network, { format: 'onnx', out: fresh('export') }), code, message);
  await refuse(/alignment\.blocks\.2\.conv\.weight .* is missing.*\[12, 12, 17\]/, 'ERR_TENSOR');
  await writeSafetensors(file, [...whole.values()]);
  const described = join(network, 'emoframe.json');
  const head = JSON.parse(readFileSync(described));
  writeFileSync(described, JSON.stringify({ ...head, alignment: { ...settings, source: 'hidden', layer: 9 } }));
  await refuse(/reads hidden state 9, but the model has 2 layers/, 'ERR_HEAD');
  // Inference has no use for it.
  const model = fresh('unmasked');
  cpSync(source, model, { recursive: true });
  const { tensors } = await readSafetensors(join(model, 'model.safetensors'));
  await writeSafetensors(join(model, 'model.safetensors'), without('masked_spec_embed')([...tensors.values()]));
  await exported(model);
});

test.run();
