// Models whose head is a regression, and heads that are applied to windows around a frame.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, Geometry } from '../../dist/index.js';
import { WindowPlan } from '../../dist/predict/windows.js';
import { emoframe } from '../support/cli.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { generator, speechLike } from '../support/syntheticRun.js';
import { dimensions, fixtures, labels, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('values');
const keep = keeper(test);
const voice = join(fixtures, 'audio', 'voice.wav');
const samples = speechLike(12, generator(4));
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-values-'));
});
test.after(() => rm(dir, { recursive: true, force: true }));

let written = 0;
const load = async (options, settings) =>
  keep(
    await EmotionModel.load(
      await writeTinyPredictor(join(dir, `model${written++}`), { clusters: false, ...options }),
      settings,
    ),
  );

function near(found, expected, tolerance, what) {
  assert.ok(Math.abs(found - expected) <= tolerance, `${what}: ${found} is not ${expected}`);
}

test('a regression gives values by dimension, of the utterance and of frames, and neither emotions nor segments', async () => {
  const model = await load({ task: 'regression', pooling: 'mean', layers: { projector: 6 } });
  assert.equal([model.task, model.timeline, model.labels], ['regression', 'frames', dimensions]);
  const found = await model.predict(voice);
  assert.equal(Object.keys(found.values), dimensions);
  assert.equal([found.label, found.probabilities, found.segments], [undefined, undefined, []]);
  // Pooling by the mean commutes with all that is linear.
  for (const [k, name] of dimensions.entries()) {
    const mean = found.frames.reduce((sum, frame) => sum + frame.values[k], 0) / found.frames.length;
    near(mean, found.values[name], 1e-5, name);
  }
  assert.equal(Object.keys(found.frames[0]), ['time', 'values', 'attention']);
  assert.equal(found.columns.posteriors, undefined);
  assert.is(found.columns.values.length, 3 * found.frames.length);
  const { frames, segments, values, windows } = JSON.parse(JSON.stringify(found));
  assert.equal(values, found.values);
  assert.equal([frames.length, segments, windows], [found.frames.length, [], null]);
});

test('values of a batch and of a stream are those of each alone', async () => {
  const model = await load({ task: 'regression', pooling: 'stats', attend: 0 });
  const expected = await model.predict(samples);
  const many = [];
  for await (const prediction of model.predictMany([samples, voice, samples])) many.push(prediction.values);
  for (const name of dimensions) near(many[2][name], expected.values[name], 1e-5, name);
  const chunks = [];
  for await (const chunk of model.stream(samples, { windowSeconds: 4, overlapSeconds: 1.5 })) chunks.push(chunk);
  const frames = chunks.flatMap((chunk) => chunk.frames);
  assert.is(frames.length, expected.frames.length);
  assert.equal(Object.keys(frames[0]), ['time', 'values', 'score']);
  assert.ok(chunks.every(({ segments }) => segments.length === 0));
  for (const name of dimensions) near(chunks.at(-1).soFar.values[name], expected.values[name], 1e-4, name);
});

const dense = [
  { width: 7, norm: true, activation: 'relu' },
  { width: 5, activation: 'tanh' },
];
for (const [pooling, timeline, layers] of [
  ['mean', 'frames', { source: 'layers', projector: 6 }],
  ['mean', 'frames', { inputNorm: 'frame', bias: false }],
  ['attention', 'attention', {}],
  ['stats', 'attention', { projector: 6 }],
  ['mean', 'windows', { dense }],
  ['sum', 'windows', {}],
  ['max', 'windows', { dense }],
  ['attention', 'windows', { dense }],
  ['stats', 'windows', { dense }],
  ['attentive-stats', 'windows', { projector: 6, dense }],
]) {
  for (const task of ['classification', 'regression']) {
    test(`windows of long audio give what one pass gives: ${task}, ${pooling}, ${JSON.stringify(layers)}`, async () => {
      // Without attention nothing counts beyond a frame's neighbours.
      const model = await load({ ...(task === 'regression' && { task }), pooling, layers, attend: 0 });
      assert.is(model.timeline, timeline);
      const once = await model.predict(samples);
      const found = await model.predict(samples, { windowSeconds: 5, overlapSeconds: 1.5 });
      assert.is(once.windows, null);
      assert.equal(found.windows, { seconds: 5, overlap: 1.5 });
      const [before, after] = [once, found].map((one) => Object.values(one.values ?? one.probabilities));
      for (const [k, value] of before.entries())
        near(after[k], value, 1e-5 * Math.max(1, Math.abs(value)), `output ${k}`);
      const [whole, parts] = [once, found].map(({ columns }) => columns.values ?? columns.posteriors);
      assert.is(parts.length, whole.length);
      for (const [i, value] of whole.entries()) near(parts[i], value, 1e-4, `frame ${Math.floor(i / labels.length)}`);
      const weights = found.columns.attention.reduce((sum, weight) => sum + weight, 0);
      near(weights, 1, 1e-4, 'the sum of weights');
    });
  }
}

test('with max pooling each window has the weight of the channels whose maximum is in it', async () => {
  const model = await load({ task: 'regression', pooling: 'max', attend: 0 });
  const windows = { windowSeconds: 5, overlapSeconds: 1.5 };
  const [once, found] = [await model.predict(samples), await model.predict(samples, windows)];
  const geometry = new Geometry({ convKernel: [10, 3, 3, 3, 3, 2, 2], convStride: [5, 2, 2, 2, 2, 2, 2] });
  const plan = [...new WindowPlan(geometry, windows, { chunk: 5, overlap: 27 }).over(once.frames.length)];
  assert.ok(plan.length > 3);
  const within = ({ columns }, { keepStart, keepEnd }) =>
    columns.attention.subarray(keepStart, keepEnd).reduce((sum, weight) => sum + weight, 0);
  for (const window of plan) near(within(found, window), within(once, window), 1e-5, JSON.stringify(window));
});

test('windows must overlap by what a frame of such a head looks at', async () => {
  const model = await load({ task: 'regression', pooling: 'max' });
  await refused(
    model.predict(samples, { windowSeconds: 3, overlapSeconds: 0.2 }),
    'ERR_ARGUMENT',
    /at least 0\.54, the context of a frame in this model/,
  );
});

test('the command line shows values and a curve of each, and refuses a cost of changes of emotion', async () => {
  const model = await writeTinyPredictor(join(dir, 'cli'), { task: 'regression', pooling: 'mean', clusters: false });
  const { code, stdout, stderr } = await emoframe(['predict', voice, '--model', model]);
  assert.is(code, 0, stderr);
  const [first, ...curves] = stdout.trimEnd().split('\n');
  assert.match(first, /^voice {2}arousal -?\d+\.\d\d, dominance -?\d+\.\d\d, valence -?\d+\.\d\d {2}\(1\.20 s\)$/);
  assert.is(curves.length, 3);
  for (const [k, curve] of curves.entries())
    assert.match(
      curve,
      new RegExp(`^ {2}${dimensions[k].padEnd(9)} {2}\\|[▁▂▃▄▅▆▇█]{60}\\| {2}-?\\d+\\.\\d\\d – -?\\d+\\.\\d\\d$`),
    );
  const json = await emoframe(['predict', voice, '--model', model, '--format', 'jsonl']);
  const { values, frames } = JSON.parse(json.stdout);
  assert.equal([Object.keys(values), frames[0].values.length], [dimensions, 3]);
  const wrong = await emoframe(['predict', voice, '--model', model, '--switching-cost', '2']);
  assert.is(wrong.code, 2);
  assert.match(wrong.stderr, /Expected no --switching-cost with .*values and no emotions/);
});

test.run();
