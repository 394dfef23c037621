import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadAudio } from '../dist/audio/load.js';
import { readSafetensors } from '../dist/checkpoint/safetensors.js';
import { Encoder } from '../dist/predict/encoder.js';
import { Predictor } from '../dist/predict/predictor.js';
import { writeWav } from './support/syntheticRun.js';
import { centroidCount, clusterLayer, fixtures, labels, writeTinyPredictor } from './support/tinyPredictor.js';

const test = suite('predictor');
const opened = [];
const keep = (resource) => {
  opened.push(resource);
  return resource;
};
test.after.each(async () => {
  for (const resource of opened.splice(0)) await resource.dispose();
});
const voice = join(fixtures, 'audio', 'voice.wav');
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-predictor-'));
  await writeTinyPredictor(join(dir, 'base'));
  await writeTinyPredictor(join(dir, 'large'), { form: 'large', clusters: false });
});
test.after(() => rm(dir, { recursive: true, force: true }));

const sum = (values) => values.reduce((total, value) => total + value, 0);
const near = (actual, expected, tolerance) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);
const rejects = async (work, code, part) => {
  try {
    await work();
  } catch (error) {
    assert.is(error.code, code, error.message);
    assert.match(error.message, part);
    return;
  }
  assert.unreachable(`expected ${code}`);
};

for (const form of ['base', 'large']) {
  test(`${form}: probabilities and posteriors sum to 1, attention too, and frames are 20 ms apart`, async () => {
    const predictor = keep(await Predictor.load(join(dir, form)));
    assert.equal(predictor.labels, labels);
    const result = await predictor.predict(voice);
    assert.is(result.id, 'voice');
    assert.equal(Object.keys(result.probabilities), labels);
    near(sum(Object.values(result.probabilities)), 1, 1e-6);
    const best = Math.max(...Object.values(result.probabilities));
    assert.is(result.probabilities[result.label], best);
    assert.is(result.frames.length, 59);
    near(sum(result.frames.map(({ attention }) => attention)), 1, 1e-5);
    for (const [i, frame] of result.frames.entries()) {
      near(sum(frame.posterior), 1, 1e-5);
      near(frame.time, 0.0125 + 0.02 * i, 1e-9);
    }
    near(result.seconds, 19200 / 16000, 0.01);
  });
}

test('segments follow the smoothed posteriors, cover the utterance, and a high cost leaves one', async () => {
  const predictor = keep(await Predictor.load(join(dir, 'large')));
  const rough = await predictor.predict(voice, { switchingCost: 0 });
  assert.ok(rough.segments.length > 1, 'the test needs a timeline that changes');
  assert.is(rough.segments[0].start, 0);
  near(rough.segments.at(-1).end, rough.seconds, 1e-4);
  for (const [i, segment] of rough.segments.entries()) {
    if (i > 0) assert.is(segment.start, rough.segments[i - 1].end);
    const inside = rough.frames.filter(({ time }) => time > segment.start && time < segment.end);
    for (const { posterior } of inside) assert.is(labels[posterior.indexOf(Math.max(...posterior))], segment.label);
    const confidence = sum(inside.map(({ posterior }) => posterior[labels.indexOf(segment.label)])) / inside.length;
    near(segment.confidence, confidence, 1e-6);
  }
  assert.is((await predictor.predict(voice, { switchingCost: 1000 })).segments.length, 1);
});

test('a frame has the cluster of the nearest centroid at the clustered layer', async () => {
  const predictor = keep(await Predictor.load(join(dir, 'base')));
  const encoder = keep(await Encoder.load(join(dir, 'base', 'clusters')));
  const { tensors } = await readSafetensors(join(dir, 'base', 'clusters', 'centroids.safetensors'));
  const centroids = tensors.get('centroids').data;
  const { frames } = await predictor.predict(voice);
  const { hidden, dimension } = await encoder.encode(voice, { layer: clusterLayer });
  for (const [i, { cluster }] of frames.entries()) {
    const distances = Array.from({ length: centroidCount }, (_, k) =>
      sum(Array.from({ length: dimension }, (_, d) => (hidden[i * dimension + d] - centroids[k * dimension + d]) ** 2)),
    );
    assert.is(cluster, distances.indexOf(Math.min(...distances)), `frame ${i}`);
  }
});

test('clusters are left out on request, and where there are none', async () => {
  for (const [form, options] of [
    ['base', { clusters: false }],
    ['large', {}],
  ]) {
    const predictor = keep(await Predictor.load(join(dir, form), options));
    assert.not.ok('cluster' in (await predictor.predict(voice)).frames[0]);
  }
});

test('many files give, in order, what each gives alone, and progress', async () => {
  const predictor = keep(await Predictor.load(join(dir, 'base')));
  const files = ['voice.wav', 'stereo48k.flac', 'float32.wav', 'voice.flac'].map((name) =>
    join(fixtures, 'audio', name),
  );
  const found = [];
  const progress = [];
  for await (const prediction of predictor.predictMany(files, { onProgress: (...args) => progress.push(args) })) {
    found.push(prediction);
  }
  for (const [i, file] of files.entries()) assert.equal(found[i], await predictor.predict(file));
  assert.equal(progress, [
    [1, 4],
    [2, 4],
    [3, 4],
    [4, 4],
  ]);
});

test('samples give what their file gives, under the given name', async () => {
  const predictor = keep(await Predictor.load(join(dir, 'base')));
  const samples = await loadAudio(voice);
  assert.equal(await predictor.predict(samples, { id: 'voice' }), await predictor.predict(voice));
});

test('audio that is too short is told with its file, in a row of files too', async () => {
  const short = join(dir, 'short.wav');
  writeWav(short, new Float32Array(399).fill(0.1));
  const predictor = keep(await Predictor.load(join(dir, 'base')));
  await rejects(() => predictor.predict(short), 'ERR_AUDIO_SHORT', short);
  const seen = [];
  await rejects(
    async () => {
      for await (const { id } of predictor.predictMany([voice, short, voice])) seen.push(id);
    },
    'ERR_AUDIO_SHORT',
    short,
  );
  assert.equal(seen, ['voice']);
});

test('a directory without a classifier says what to do, and names a run’s predictor when it sees one', async () => {
  await rejects(() => Predictor.load(join(fixtures, 'checkpoints', 'base')), 'ERR_HEAD', 'emoframe run');
});

test('wrong options, a stopped call and use after dispose are told', async () => {
  const predictor = await Predictor.load(join(dir, 'base'));
  await rejects(() => predictor.predict(voice, { switchingCost: -1 }), 'ERR_ARGUMENT', 'switchingCost');
  await rejects(() => predictor.predict(voice, { signal: AbortSignal.abort() }), 'ERR_ABORTED', 'stopped');
  await predictor.dispose();
  await rejects(() => predictor.predict(new Float32Array(16000)), 'ERR_DISPOSED', '');
  await rejects(() => Predictor.load(join(dir, 'base'), { device: 'cuda:0' }), 'ERR_DEVICE', 'cpu');
});

test.run();
