import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, Encoder, Geometry } from '../../dist/index.js';
import { WindowPlan } from '../../dist/predict/windows.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { generator, speechLike, writeWav } from '../support/syntheticRun.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('long audio');
const keep = keeper(test);
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-long-'));
});
test.after(() => rm(dir, { recursive: true, force: true }));

/** Syllables, silences and a slow drift: what differs from place to place shows what a window does not know of the rest. */
function recording(seconds, seed = 5) {
  const random = generator(seed);
  const samples = new Float32Array(Math.round(16000 * seconds));
  for (let at = 0; at < samples.length; ) {
    const part = speechLike(1 + 2 * random(), random);
    samples.set(part.subarray(0, samples.length - at), at);
    at += part.length + Math.floor(8000 * random());
  }
  return samples.map((value, i) => value * (0.3 + (0.7 * i) / samples.length) + 0.05);
}

const geometry = new Geometry({ convKernel: [10, 3, 3, 3, 3, 2, 2], convStride: [5, 2, 2, 2, 2, 2, 2] });

test('windows keep every frame once, with the overlap on both sides', () => {
  for (const [windowSeconds, overlapSeconds] of [
    [2, 0.4],
    [1, 0],
    [0.1, 0.04],
  ]) {
    const plan = new WindowPlan(geometry, { windowSeconds, overlapSeconds });
    const overlap = Math.round(overlapSeconds * 50);
    for (const frames of [1, 4, 5, 6, 49, 50, 51, 99, 100, 101, 333]) {
      const windows = [...plan.over(frames)];
      let kept = 0;
      for (const [i, { start, end, keepStart, keepEnd }] of windows.entries()) {
        assert.is(keepStart, kept);
        assert.ok(keepEnd > keepStart);
        kept = keepEnd;
        assert.is(end - start, Math.min(frames, plan.windowFrames));
        assert.ok(i === 0 ? start === 0 : keepStart - start >= overlap);
        assert.ok(i === windows.length - 1 ? end === frames : end - keepEnd === overlap);
      }
      assert.is(kept, frames);
      assert.is(windows.length === 1, plan.fits(frames));
    }
  }
});

/** Per frame, the length of the difference over the length of the vector: the largest. */
function frameError(found, expected, dimension) {
  assert.is(found.length, expected.length);
  let largest = 0;
  for (let at = 0; at < found.length; at += dimension) {
    let [difference, size] = [0, 0];
    for (let c = at; c < at + dimension; c++) {
      difference += (found[c] - expected[c]) ** 2;
      size += expected[c] ** 2;
    }
    largest = Math.max(largest, Math.sqrt(difference / size));
  }
  return largest;
}

for (const form of ['base', 'large']) {
  test(`${form}: up to the transformer every frame is that of one pass; after it, up to what is beyond the window`, async () => {
    const encoder = keep(await Encoder.load(join(fixtures, 'encode', form)));
    const samples = recording(40);
    const inWindows = { windowSeconds: 10, overlapSeconds: 2 };
    const errorAt = async (layer) => {
      const once = await encoder.encode(samples, { layer, windowSeconds: 60 });
      const found = await encoder.encode(samples, { layer, ...inWindows });
      assert.is(once.windows, null);
      assert.equal(found.windows, { seconds: 10, overlap: 2 });
      assert.is(found.frames, once.frames);
      return frameError(found.hidden, once.hidden, found.dimension);
    };
    const before = await errorAt(0);
    assert.ok(before < 2e-5, `the transformer's input: ${before}`);
    // Random weights attend to all of the audio alike: the worst there is.
    const after = await errorAt(encoder.layers);
    assert.ok(after > before && after < 0.25, `the last layer: ${after}`);
  });
}

test('without shared statistics windows would give something else: the test sees it', async () => {
  const encoder = keep(await Encoder.load(join(fixtures, 'encode', 'base')));
  const samples = recording(20);
  const once = await encoder.encode(samples, { layer: 0 });
  const part = await encoder.encode(samples.subarray(0, 16000 * 10), { layer: 0 });
  const kept = 400 * encoder.dimension;
  const error = frameError(part.hidden.subarray(0, kept), once.hidden.subarray(0, kept), encoder.dimension);
  assert.ok(error > 1e-2, `${error}`);
});

for (const pooling of ['mean', 'attention', 'attention-linear', 'stats']) {
  test(`${pooling} pooling over windows is pooling over all of their frames`, async () => {
    // The scores of these weights are large, so that rounding shows in the third digit of what exp makes of them.
    // Without attention nothing counts beyond a frame's neighbours, so windows must give what one pass gives.
    const model = keep(
      await EmotionModel.load(await writeTinyPredictor(join(dir, pooling), { pooling, attend: 0, clusters: false })),
    );
    const samples = recording(30);
    const once = await model.predict(samples);
    const found = await model.predict(samples, { windowSeconds: 6, overlapSeconds: 1.5 });
    assert.is(once.windows, null);
    assert.equal(found.windows, { seconds: 6, overlap: 1.5 });
    for (const [label, p] of Object.entries(once.probabilities)) near(found.probabilities[label], p, 1e-4, label);
    const scale = once.frames.length;
    for (const [i, frame] of once.frames.entries()) {
      const weight = frame.attention * scale;
      near(found.frames[i].attention * scale, weight, 5e-3 * Math.max(1, weight), `attention of frame ${i}`);
      for (const [k, p] of frame.posterior.entries()) near(found.frames[i].posterior[k], p, 1e-3, `frame ${i}`);
    }
    assert.equal(
      found.segments.map(({ start, end, label }) => [start, end, label]),
      once.segments.map(({ start, end, label }) => [start, end, label]),
    );
  });
}

function near(found, expected, tolerance, what) {
  assert.ok(Math.abs(found - expected) <= tolerance, `${what}: ${found} is not ${expected}`);
}

test('clusters come through windows too, and progress is reported in seconds', async () => {
  const model = keep(await EmotionModel.load(await writeTinyPredictor(join(dir, 'clusters'))));
  const samples = recording(12);
  const reported = [];
  const found = await model.predict(samples, {
    id: 'talk',
    windowSeconds: 5,
    overlapSeconds: 1.5,
    onProgress: (progress) => reported.push(progress),
  });
  const once = await model.predict(samples);
  const same = found.frames.filter(({ cluster }, i) => cluster === once.frames[i].cluster).length;
  assert.ok(same > 0.9 * once.frames.length, `${same} of ${once.frames.length} clusters agree`);
  assert.ok(reported.length > 3);
  assert.ok(reported.every(({ id, totalSeconds }) => id === 'talk' && totalSeconds === 12));
  assert.is(reported.at(-1).doneSeconds, 12);
  for (const [i, { doneSeconds }] of reported.slice(1).entries()) assert.ok(doneSeconds > reported[i].doneSeconds);
});

const collect = async (results) => {
  const found = [];
  for await (const result of results) found.push(result);
  return found;
};

test('a stream of a file adds up to its prediction', async () => {
  const model = keep(await EmotionModel.load(await writeTinyPredictor(join(dir, 'stream'))));
  const path = join(dir, 'talk.wav');
  writeWav(path, recording(17));
  const options = { windowSeconds: 5, overlapSeconds: 1, switchingCost: 1 };
  const whole = await model.predict(path, options);
  const chunks = await collect(model.stream(path, options));
  assert.ok(chunks.length >= 5);
  assert.equal(
    chunks.map(({ last }) => last),
    chunks.map((_, i) => i === chunks.length - 1),
  );
  assert.is(chunks[0].start, 0);
  for (const [i, chunk] of chunks.slice(1).entries()) assert.is(chunk.start, chunks[i].end);
  near(chunks.at(-1).end, whole.seconds, 1e-4, 'the end');
  const frames = chunks.flatMap((chunk) => chunk.frames);
  const strip = ({ time, posterior, cluster }) => ({ time, posterior, cluster });
  assert.equal(frames.map(strip), whole.frames.map(strip));
  assert.ok(whole.segments.length > 3, 'the test needs a timeline that changes');
  assert.equal(
    chunks.flatMap(({ segments }) => segments),
    whole.segments,
  );
  assert.ok(chunks[1].segments.length + chunks[0].segments.length > 0, 'segments come before the end');
  assert.equal(chunks.at(-1).soFar, { label: whole.label, probabilities: whole.probabilities });
  const scores = frames.map(({ score }) => Math.exp(score));
  const sum = scores.reduce((a, b) => a + b, 0);
  for (const [i, { attention }] of whole.frames.entries()) near(scores[i] / sum, attention, 1e-6, `weight ${i}`);
});

test('live audio is answered while it comes, from windows that stand for themselves', async () => {
  const model = keep(await EmotionModel.load(await writeTinyPredictor(join(dir, 'live'))));
  const samples = recording(15);
  const options = { windowSeconds: 4, overlapSeconds: 1 };
  let sent = 0;
  async function* microphone() {
    for (let at = 0; at < samples.length; at += 1600) {
      sent = at;
      yield samples.subarray(at, at + 1600);
    }
  }
  const chunks = [];
  for await (const chunk of model.stream(microphone(), options)) {
    if (chunks.length === 0) assert.ok(sent < 16000 * 4.3, `${sent} samples had come before the first answer`);
    chunks.push(chunk);
  }
  assert.equal(chunks, await collect(model.stream(samples, { ...options, normalizeBy: 'window' })));
  assert.is(chunks.flatMap(({ frames }) => frames).length, geometry.frames(samples.length));
  // A first window is as if it were all: then its first frames are those of the window alone.
  const alone = await model.predict(samples.subarray(0, 320 * 199 + 400));
  assert.equal(chunks[0].frames[0].posterior, alone.frames[0].posterior);
  await refused(collect(model.stream((async function* () {})())), 'ERR_AUDIO', /empty/);
});

test('a stream that is left or stopped ends between windows', async () => {
  const model = keep(await EmotionModel.load(await writeTinyPredictor(join(dir, 'left'))));
  const controller = new AbortController();
  const options = { windowSeconds: 2, overlapSeconds: 0.4, signal: controller.signal };
  let count = 0;
  const stopping = (async () => {
    for await (const _ of model.stream(recording(20), options)) if (++count === 2) controller.abort();
  })();
  await refused(stopping, 'ERR_ABORTED', /stopped/);
  assert.is(count, 2);
  const predicting = new AbortController();
  await refused(
    model.predict(recording(20), {
      ...options,
      signal: predicting.signal,
      onProgress: () => predicting.abort(),
    }),
    'ERR_ABORTED',
    /stopped/,
  );
  for await (const _ of model.stream(recording(20), { windowSeconds: 2 })) break;
  assert.is((await model.predict(recording(1))).frames.length, 49);
});

test.run();
