// Exported graphs in ONNX Runtime, beside our own engine: both forms of HuBERT, WavLM and emotion2vec, all poolings and layers of heads,
// every form of public model, alignment networks over all that they may read, several lengths, weights inside the graph's file and outside, batches, and what is refused. ONNX Runtime is a dependency of bench, not of the package; where
// it cannot be installed this fails. Ends with `N passed, N failed`.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { saveBaseModel } from '../../bench/harness/model.js';
import { probabilitiesOf } from '../../dist/evaluate/fusion.js';
import { islandsGraph } from '../../dist/export/islandsGraph.js';
import { EmotionModel, Encoder, Engine, exportModel, loadAudio, packLocally } from '../../dist/index.js';
import { Graph } from '../../dist/onnx/graph.js';
import { writeOnnx } from '../../dist/onnx/write.js';
import { loadClassifier } from '../../dist/predict/loadModel.js';
import { batchOf } from '../../dist/predict/modelInput.js';
import { writeAlignedPredictor } from '../support/alignedPredictor.js';
import { heads, writeHeadPredictor } from '../support/headPredictor.js';
import { generator, speechLike } from '../support/syntheticRun.js';
import { fixtures, labels, writeTinyPredictor } from '../support/tinyPredictor.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const bench = join(root, 'bench');
if (!existsSync(join(bench, 'node_modules', 'onnxruntime-node')))
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: bench, stdio: ['ignore', 'ignore', 'inherit'] });
const { InferenceSession, Tensor } = createRequire(join(bench, 'package.json'))('onnxruntime-node');

/**
 * The most by which fp32 results may differ: probabilities and weights by so much, logits and hidden states by so much times
 * the largest of them.
 */
const tolerance = 1e-4;
/** One frame, one frame and all but the next, two, and seconds that are no whole number of frames. */
const lengths = [400, 719, 720, 4001, 16000, 48123];
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-onnx-'));
const sums = { passed: 0, failed: 0 };
let worst = 0;

async function check(name, work) {
  random = generator(17);
  try {
    await work();
    sums.passed++;
    process.stdout.write(`ok      ${name}\n`);
  } catch (error) {
    sums.failed++;
    process.stdout.write(`FAILED  ${name}\n${error instanceof Error ? error.message : String(error)}\n`);
  }
}

/** Begins anew in each check, whose audio does not depend on the checks before it. */
let random;
/**
 * Speech that is neither of zero mean nor of unit variance, over a little noise: norms make rounding errors of perfect silence as
 * large as speech.
 */
const speech = (samples) =>
  speechLike(samples / 16000 + 0.01, random)
    .subarray(0, samples)
    .map((value) => 0.3 * value + 0.02 + 0.01 * (random() - 0.5));

/** Silent: what is refused here is meant to be. */
const open = (dir) => InferenceSession.create(join(dir, 'model.onnx'), { logSeverityLevel: 4 });

/** One run over utterances of one length. */
function run(session, utterances) {
  const [first] = utterances;
  const samples = new Float32Array(utterances.length * first.length);
  for (const [i, utterance] of utterances.entries()) samples.set(utterance, i * first.length);
  return session.run({ input_values: new Tensor('float32', samples, [utterances.length, first.length]) });
}

function agree(found, expected, scaled, what) {
  assert.equal(found.length, expected.length, `${what}: length`);
  const scale = scaled ? Math.max(1, ...expected.map(Math.abs)) : 1;
  const difference = found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]) / scale), 0);
  worst = Math.max(worst, difference);
  assert.ok(difference <= tolerance, `${what}: differs by ${difference}`);
}

/** A regression has values in place of logits and of posteriors. */
function agreeAll({ logits, values = logits, frame_posteriors, frame_values, attention }, expected, what) {
  const ofFrames = frame_posteriors ?? frame_values;
  agree(values.data, expected.logits, true, `${what}: logits`);
  agree(ofFrames.data, expected.framePosteriors, frame_values !== undefined, `${what}: frames`);
  agree(attention.data, expected.attention, false, `${what}: attention`);
  const frames = expected.attention.length;
  assert.deepEqual(ofFrames.dims, [1, frames, expected.logits.length], what);
  assert.deepEqual(attention.dims, [1, frames], what);
}

/** Our own answers for some utterances, each alone. */
async function answers(dir, utterances) {
  const engine = Engine.create();
  try {
    const loaded = await loadClassifier(engine, dir, 'fp32');
    const { temperature = 1 } = loaded.head.calibration ?? {};
    const found = [];
    for (const samples of utterances) {
      const { logits, ...frames } = await loaded.model.classify(batchOf([{ samples, name: 'speech' }], loaded));
      found.push({ ...frames, logits: logits.map((logit) => logit / temperature) });
    }
    return found;
  } finally {
    engine.dispose();
  }
}

/** An export of a tiny predictor, with an alignment network where there is to be one. */
async function exported(name, options, more = {}) {
  const write = options.alignment ? writeAlignedPredictor : writeTinyPredictor;
  const dir = await write(join(scratch, 'models', name), { clusters: false, ...options });
  const out = join(scratch, 'exports', name);
  await exportModel(dir, { format: 'onnx', out, ...more });
  return { dir, out };
}

for (const form of ['base', 'large']) {
  for (const pooling of ['mean', 'attention', 'attention-linear', 'stats']) {
    await check(`${form}, ${pooling} pooling: ${lengths.join(', ')} samples`, async () => {
      const { dir, out } = await exported(`${form}-${pooling}`, { form, pooling, temperature: 1.7 });
      const utterances = lengths.map(speech);
      const expected = await answers(dir, utterances);
      const session = await open(out);
      for (const [i, samples] of utterances.entries())
        agreeAll(await run(session, [samples]), expected[i], `${samples.length} samples`);
      await session.release();
    });
  }
}

/** An export of a directory, and our own answers, for all lengths. */
async function agreeForLengths(name, dir) {
  const out = join(scratch, 'exports', name);
  await exportModel(dir, { format: 'onnx', out });
  const utterances = lengths.map(speech);
  const expected = await answers(dir, utterances);
  const session = await open(out);
  for (const [i, samples] of utterances.entries())
    agreeAll(await run(session, [samples]), expected[i], `${samples.length} samples`);
  // Each of a batch as alone: nothing of a window reaches the next utterance.
  const batch = [9000, 9000].map(speech);
  const alone = await answers(dir, batch);
  const { frame_posteriors, frame_values } = await run(session, batch);
  const frames = frame_posteriors ?? frame_values;
  const ofAlone = alone.flatMap((answer) => [...answer.framePosteriors]);
  agree(frames.data, ofAlone, frame_values !== undefined, 'a batch');
  await session.release();
}

for (const form of ['base', 'large']) {
  for (const [name, head] of Object.entries(heads)) {
    await check(`${form}, a head of ${name}`, async () => {
      const dir = join(scratch, 'models', `${form}, ${name}`);
      await writeHeadPredictor(dir, { ...head, from: join(fixtures, 'encode', form) });
      await agreeForLengths(`${form}, ${name}`, dir);
    });
  }
}

await check('sound as every normalisation brings it to the model', async () => {
  for (const normalize of [true, false, { epsilon: 1e-3 }, { mean: 0.02, scale: 2.5 }]) {
    const name = `brought by ${JSON.stringify(normalize)}`;
    const dir = await writeHeadPredictor(join(scratch, 'models', name), { pooling: 'mean', normalize });
    await agreeForLengths(name, dir);
  }
});

const forms = join(fixtures, 'forms');
const answersOfOthers = JSON.parse(readFileSync(join(forms, 'expected.json')));
const voice = join(fixtures, 'audio', 'voice.wav');

for (const [name, { logits, frames }] of Object.entries(answersOfOthers)) {
  await check(`a public model of the form ${name}`, async () => {
    let dir = join(forms, name);
    if (name === 'ctc') {
      // Its head is a classifier where that is asked for: of a directory of ours it is one.
      dir = join(scratch, 'models', name);
      await exportModel(join(forms, name), { format: 'hf', out: dir, head: 'ctc-mean' });
    }
    await agreeForLengths(name, dir);
    // And what transformers or PyTorch gave.
    const session = await open(join(scratch, 'exports', name));
    const found = await run(session, [await loadAudio(voice)]);
    agree((found.values ?? found.logits).data, logits, true, 'logits of the published model');
    const posteriors = found.frame_posteriors;
    for (const [i, scores] of (posteriors ? (frames ?? []) : []).entries()) {
      const at = 8 * i * scores.length;
      agree(posteriors.data.subarray(at, at + scores.length), probabilitiesOf(scores), false, `frame ${8 * i}`);
    }
    await session.release();
  });
}

for (const name of ['wavlm', 'wavlm_sum', 'emotion2vec', 'emotion2vec_plus']) {
  await check(`${name}: hidden states alone, and an alignment network over chunks of them`, async () => {
    const dir = join(forms, name);
    const out = join(scratch, 'exports', `${name}-encoder`);
    await exportModel(dir, { format: 'onnx', out, head: 'none' });
    const session = await open(out);
    const encoder = await Encoder.load(dir);
    for (const samples of lengths.map(speech)) {
      const { hidden } = await encoder.encode(samples);
      agree((await run(session, [samples])).last_hidden_state.data, hidden, true, `${samples.length} samples`);
    }
    await encoder.dispose();
    await session.release();
    for (const alignment of [
      { source: 'hidden', layer: 'output', contextFrames: 5 },
      { source: 'layers', layer: 2, chunkFrames: 4, contextFrames: 9 },
    ]) {
      const options = { from: dir, alignment, pooling: 'mean' };
      const aligned = await exported(`${name}, chunks of ${alignment.source}`, options);
      const utterances = lengths.map(speech);
      const expected = await predictions(aligned.dir, utterances);
      const chunks = await open(aligned.out);
      for (const [i, samples] of utterances.entries())
        agreeAligned(await run(chunks, [samples]), expected[i], `${alignment.source}, ${samples.length} samples`);
      await chunks.release();
    }
  });
}

/** What an alignment network may read, and what may decide beside it. Chunks are cut short by every length but those of one frame. */
const networks = {
  'the convolutions': { alignment: { source: 'features' }, pooling: 'attention' },
  'the convolutions, without a pooled classifier': { alignment: { source: 'features' }, pooling: null },
  'a hidden state': { alignment: { source: 'hidden', layer: 1 }, pooling: 'stats' },
  'the last hidden state, before its norm': { alignment: { source: 'hidden', layer: 2 }, pooling: 'mean' },
  'the output, with context': {
    alignment: { source: 'hidden', layer: 'output', contextFrames: 5 },
    pooling: 'attention',
  },
  'context beyond a chunk': {
    alignment: { source: 'hidden', layer: 0, chunkFrames: 4, contextFrames: 9 },
    pooling: null,
  },
  'the sum of layers': { alignment: { source: 'layers', layer: 2, contextFrames: 3 }, pooling: 'attention' },
  'the convolutions and log-mel bands': { alignment: { source: 'features', melBands: 40 }, pooling: 'attention' },
  'the output and log-mel bands': {
    alignment: { source: 'hidden', layer: 'output', contextFrames: 5, melBands: 64 },
    pooling: null,
  },
  'the sum of layers and one log-mel band': { alignment: { source: 'layers', layer: 2, melBands: 1 }, pooling: 'mean' },
};

/** What the package predicts, with the frame logits beside it. */
async function predictions(dir, utterances) {
  const model = await EmotionModel.load(dir);
  const found = await answers(dir, utterances);
  for (const [i, samples] of utterances.entries()) {
    const { probabilities, columns } = await model.predict(samples);
    found[i] = { probabilities: Object.values(probabilities), ...columns, ...found[i].alignment };
  }
  await model.dispose();
  return found;
}

function agreeAligned(found, expected, what) {
  const { logits, frame_posteriors, attention, frame_logits } = found;
  agree(probabilitiesOf(logits.data), expected.probabilities, false, `${what}: probabilities`);
  agree(frame_posteriors.data, expected.posteriors, false, `${what}: frame posteriors`);
  agree(attention.data, expected.attention, false, `${what}: attention`);
  agree(frame_logits.data, expected.frameLogits, true, `${what}: frame logits`);
  const frames = expected.attention.length;
  for (const tensor of [frame_posteriors, frame_logits])
    assert.deepEqual(tensor.dims, [1, frames, labels.length], what);
}

for (const form of ['base', 'large']) {
  for (const [name, options] of Object.entries(networks)) {
    await check(`${form}, an alignment network over ${name}`, async () => {
      const calibration = { classifier: 0.6, alignment: 1.5 };
      const { dir, out } = await exported(`${form}, ${name}`, { form, calibration, ...options });
      const utterances = lengths.map(speech);
      const expected = await predictions(dir, utterances);
      const session = await open(out);
      for (const [i, samples] of utterances.entries())
        agreeAligned(await run(session, [samples]), expected[i], `${samples.length} samples`);
      await session.release();
    });
  }
}

await check('an alignment network to which sound is brought by statistics that are not its own', async () => {
  const waveform = { mean: 0.03, scale: 2.5 };
  const mean = Array.from({ length: 10 }, (_, i) => 0.01 * i);
  const covariance = Array.from({ length: 100 }, (_, i) => 0.4 * 0.9 ** Math.abs((i % 10) - Math.floor(i / 10)));
  for (const [form, statistics] of [
    ['base', { waveform, windows: { mean, covariance } }],
    ['large', { waveform }],
  ]) {
    for (const [source, melBands] of [
      ['features', 0],
      ['features', 40],
      ['hidden', 0],
      ['hidden', 40],
    ]) {
      const alignment = { source, statistics, melBands };
      const { dir, out } = await exported(`statistics-${form}-${source}-${melBands}`, { form, alignment });
      const session = await open(out);
      const engine = Engine.create();
      const { model } = await loadClassifier(engine, dir, 'fp32');
      for (const samples of lengths.map(speech)) {
        const batch = packLocally([samples], model.geometry.stride, statistics);
        const { alignment: expected } = await model.classify(batch, undefined, 'alignment');
        const { frame_logits } = await run(session, [samples]);
        const what = `${form}, ${source}, ${melBands} bands, ${samples.length} samples`;
        agree(frame_logits.data, expected.frameLogits, true, what);
      }
      engine.dispose();
      await session.release();
    }
  }
});

await check(
  'a predictor as training leaves it, with log-mel bands and statistics, of loud and of silent sound',
  async () => {
    for (const form of ['base', 'large']) {
      const [dir, out] = ['models', 'exports'].map((kind) => join(scratch, kind, `trained-${form}`));
      const options = { form, clusters: false, alignment: { melBands: 40 }, statisticsOf: speech(80000) };
      await writeTinyPredictor(dir, options);
      await exportModel(dir, { format: 'onnx', out });
      const session = await open(out);
      const model = await EmotionModel.load(dir);
      for (const gain of [0.001, 1, 3]) {
        const samples = speech(48123).map((value) => gain * value);
        const { probabilities, columns } = await model.predict(samples);
        const { logits, frame_posteriors, attention } = await run(session, [samples]);
        const what = `${form}, times ${gain}`;
        agree(probabilitiesOf(logits.data), Object.values(probabilities), false, `${what}: probabilities`);
        agree(frame_posteriors.data, columns.posteriors, false, `${what}: frame posteriors`);
        agree(attention.data, columns.attention, false, `${what}: attention`);
      }
      await model.dispose();
      await session.release();
    }
  },
);

await check('an alignment network treats each utterance of a batch as alone', async () => {
  const alignment = { source: 'layers', layer: 1, contextFrames: 2, melBands: 40 };
  const { dir, out } = await exported('aligned-batch', { form: 'base', alignment });
  const utterances = [speech(9000), speech(9000), speech(9000)];
  const expected = await predictions(dir, utterances);
  const { frame_posteriors, frame_logits } = await run(await open(out), utterances);
  for (const [tensor, name, scaled] of [
    [frame_posteriors, 'posteriors', false],
    [frame_logits, 'frameLogits', true],
  ])
    agree(
      tensor.data,
      expected.flatMap((prediction) => [...prediction[name]]),
      scaled,
      name,
    );
});

/** The graph of forward-backward alone, which takes frame logits. */
async function islandsSession(name, bias, model) {
  const graph = new Graph();
  const biasValue = graph.weight({ name: 'bias', shape: [bias.length], read: async () => bias });
  const { logits, occupancies } = islandsGraph(graph, 'frame_logits', biasValue, bias.length, model);
  graph.node('Identity', [logits], { scope: 'outputs', output: 'logits' });
  graph.node('Identity', [occupancies], { scope: 'outputs', output: 'occupancies' });
  const value = (name, ...shape) => ({ name, shape, description: name });
  const out = join(scratch, 'islands');
  mkdirSync(out, { recursive: true });
  await writeOnnx(
    join(out, `${name}.onnx`),
    {
      ...{ name: 'islands', description: '', producer: { name: 'check', version: '1' }, metadata: {}, graph },
      inputs: [value('frame_logits', 'batch', 'frames', bias.length)],
      outputs: [value('logits', 'batch', bias.length), value('occupancies', 'batch', 'frames', bias.length)],
    },
    { externalName: 'none' },
  );
  return InferenceSession.create(join(out, `${name}.onnx`), { logSeverityLevel: 4 });
}

await check(
  'islands of one frame to half an hour, of evidence that is weak or overwhelming, of any costs',
  async () => {
    const engine = Engine.create();
    const bias = Float32Array.of(0.3, -0.2, 0.1, 0.7);
    for (const [name, model] of Object.entries({
      weak: { neutral: 2, scale: 0.1, switchingCost: 4 },
      strong: { neutral: 0, scale: 8, switchingCost: 0 },
      slow: { neutral: 3, scale: 0.5, switchingCost: 30 },
    })) {
      const session = await islandsSession(name, bias, model);
      for (const frames of [1, 2, 37, 1500, 90000]) {
        // Turns of seconds, so that there are islands, and an utterance in which no emotion is likely anywhere.
        const utterance = (offset) =>
          Float32Array.from(
            { length: 4 * frames },
            (_, i) => 9 * Math.sin(i / 301 + i) + offset * (i % 4 === model.neutral),
          );
        const logits = [utterance(0), utterance(60)];
        const input = new Float32Array(8 * frames);
        for (const [i, values] of logits.entries()) input.set(values, 4 * frames * i);
        const found = await session.run({ frame_logits: new Tensor('float32', input, [2, frames, 4]) });
        const expected = await engine.align(input, Int32Array.of(0, frames, 2 * frames), { ...model, bias });
        agree(found.logits.data, expected.logits, true, `${name}, ${frames} frames: logits`);
        agree(found.occupancies.data, expected.occupancies, false, `${name}, ${frames} frames: occupancies`);
      }
      await session.release();
    }
    engine.dispose();
  },
);

await check('weights outside the graph’s file give the same bits', async () => {
  const options = { form: 'large', pooling: 'stats' };
  const inside = await exported('inside', options);
  const outside = await exported('outside', options, { externalData: true });
  assert.ok(statSync(join(outside.out, 'model.onnx_data')).size > 0);
  const samples = speech(20000);
  const [a, b] = [await open(inside.out), await open(outside.out)];
  const [found, expected] = [await run(a, [samples]), await run(b, [samples])];
  for (const name of ['logits', 'frame_posteriors', 'attention'])
    assert.deepEqual([...found[name].data], [...expected[name].data], name);
});

await check('utterances of one length in a batch are each computed as alone', async () => {
  const { dir, out } = await exported('batch', { form: 'base', pooling: 'attention' });
  const utterances = [speech(9000), speech(9000), speech(9000)];
  const expected = await answers(dir, utterances);
  const { logits, attention } = await run(await open(out), utterances);
  agree(
    logits.data,
    expected.flatMap((answer) => [...answer.logits]),
    true,
    'logits',
  );
  agree(
    attention.data,
    expected.flatMap((answer) => [...answer.attention]),
    false,
    'attention',
  );
});

await check('less than a frame is refused, by ONNX Runtime as by us', async () => {
  const { dir, out } = await exported('short', {});
  const session = await open(out);
  await assert.rejects(run(session, [speech(399)]), /Conv/);
  await assert.rejects(answers(dir, [speech(399)]), { code: 'ERR_AUDIO_SHORT' });
});

await check('a model without classifier gives hidden states', async () => {
  for (const form of ['base', 'large']) {
    const out = join(scratch, 'exports', `encoder-${form}`);
    await exportModel(join(fixtures, 'encode', form), { format: 'onnx', out });
    const samples = speech(30000);
    const { last_hidden_state } = await run(await open(out), [samples]);
    const encoder = await Encoder.load(join(fixtures, 'encode', form));
    const { hidden, frames, dimension } = await encoder.encode(samples);
    await encoder.dispose();
    assert.deepEqual(last_hidden_state.dims, [1, frames, dimension]);
    agree(last_hidden_state.data, hidden, true, form);
  }
});

await check('the example of the documentation', async () => {
  const { dir, out } = await exported('example', {});
  const app = join(scratch, 'app');
  mkdirSync(join(app, 'node_modules'), { recursive: true });
  symlinkSync(root, join(app, 'node_modules', 'emoframe'));
  symlinkSync(join(bench, 'node_modules', 'onnxruntime-node'), join(app, 'node_modules', 'onnxruntime-node'));
  copyFileSync(join(root, 'examples', 'onnx-runtime.js'), join(app, 'example.mjs'));
  const said = execFileSync(process.execPath, ['example.mjs', out, voice], { cwd: app, encoding: 'utf8' });
  const model = await EmotionModel.load(dir);
  const { label, frames } = await model.predict(voice);
  await model.dispose();
  assert.match(said, new RegExp(`^${label}: ${frames.length} frames, `));
});

await check('at the size of HuBERT-base, 5 s', async () => {
  const dir = join(scratch, 'models', 'real-size');
  await saveBaseModel(dir, 1, { labels });
  const out = join(scratch, 'exports', 'real-size');
  await exportModel(dir, { format: 'onnx', out });
  const samples = speech(80000);
  const [expected] = await answers(dir, [samples]);
  agreeAll(await run(await open(out), [samples]), expected, '5 s');
});

rmSync(scratch, { recursive: true, force: true });
process.stdout.write(`The largest difference was ${worst.toExponential(1)}.\n`);
process.stdout.write(`${sums.passed} passed, ${sums.failed} failed\n`);
process.exit(sums.failed === 0 ? 0 : 1);
