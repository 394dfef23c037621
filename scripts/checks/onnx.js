// Exported graphs in ONNX Runtime, beside our own engine: both forms of HuBERT, all poolings, several lengths, weights inside
// the graph's file and outside, batches, and what is refused. ONNX Runtime is a dependency of bench, not of the package; where
// it cannot be installed this fails. Ends with `N passed, N failed`.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { saveBaseModel } from '../../bench/harness/model.js';
import { EmotionModel, Encoder, Engine, exportModel } from '../../dist/index.js';
import { loadClassifier } from '../../dist/predict/loadModel.js';
import { batchOf } from '../../dist/predict/wholeAudio.js';
import { generator, speechLike } from '../../test/support/syntheticRun.js';
import { fixtures, labels, writeTinyPredictor } from '../../test/support/tinyPredictor.js';

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
  try {
    await work();
    sums.passed++;
    process.stdout.write(`ok      ${name}\n`);
  } catch (error) {
    sums.failed++;
    process.stdout.write(`FAILED  ${name}\n${error instanceof Error ? error.message : String(error)}\n`);
  }
}

const random = generator(17);
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

function agreeAll({ logits, frame_posteriors, attention }, expected, what) {
  agree(logits.data, expected.logits, true, `${what}: logits`);
  agree(frame_posteriors.data, expected.framePosteriors, false, `${what}: frame posteriors`);
  agree(attention.data, expected.attention, false, `${what}: attention`);
  const frames = expected.attention.length;
  assert.deepEqual(frame_posteriors.dims, [1, frames, expected.logits.length], what);
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

/** An export of a tiny predictor. */
async function exported(name, options, more = {}) {
  const dir = await writeTinyPredictor(join(scratch, 'models', name), { clusters: false, ...options });
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

await check('utterances of one length in a batch are heard each as alone', async () => {
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
  const voice = join(fixtures, 'audio', 'voice.wav');
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
