import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readHead } from '../../dist/checkpoint/head.js';
import { RecordingDecoder } from '../../dist/evaluate/alignmentTimeline.js';
import { IslandForward } from '../../dist/evaluate/islandForward.js';
import { EmotionModel } from '../../dist/index.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { generator, speechLike } from '../support/syntheticRun.js';
import { classifyWhole, labels, tinyAlignment, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('long audio with an alignment network');
const keep = keeper(test);
const calibration = { classifier: 0.3, alignment: 0.0003 };
// Chunks of 20 frames with 6 around and 5 frames of convolutions: 25 frames of overlap, half a second.
const kinds = {
  features: { pooling: null, alignment: {}, calibration },
  hidden: { pooling: 'attention', alignment: { source: 'hidden' }, calibration, clusters: true },
  output: { form: 'large', pooling: null, alignment: { source: 'hidden', layer: 'output' }, calibration },
  layers: { form: 'large', pooling: 'mean', alignment: { source: 'layers' }, calibration },
  statistics: {
    pooling: null,
    alignment: { source: 'hidden' },
    calibration,
    statisticsOf: speechLike(4, generator(2)).map((value) => 1.7 * value + 0.03),
    clusters: true,
  },
};
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-long-alignment-'));
  for (const [kind, options] of Object.entries(kinds))
    await writeTinyPredictor(join(dir, kind), { clusters: false, attend: 20, ...options });
});
test.after(() => rm(dir, { recursive: true, force: true }));

function recording(seconds) {
  const random = generator(5);
  return speechLike(seconds, random).map((value, i) => value * (0.3 + i / (16000 * seconds)) + 0.02);
}

const samples = recording(17.3);
const near = (found, expected, tolerance, what) =>
  assert.ok(Math.abs(found - expected) <= tolerance, `${what}: ${found} is not ${expected}`);
const spans = (segments) => segments.map(({ start, end, label }) => [start, end, label]);
const collect = async (results) => {
  const found = [];
  for await (const result of results) found.push(result);
  return found;
};

/** The same timeline and, where asked for, decision, up to rounding. */
function alike(found, expected, decision = true) {
  assert.is(found.frames.length, expected.frames.length);
  for (const [t, { posterior }] of expected.frames.entries())
    posterior.forEach((p, c) => {
      near(found.frames[t].posterior[c], p, 1e-4, `frame ${t}`);
    });
  assert.equal(spans(found.segments), spans(expected.segments));
  if (!decision) return;
  for (const [label, p] of Object.entries(expected.probabilities)) near(found.probabilities[label], p, 1e-4, label);
}

for (const [kind, { pooling }] of Object.entries(kinds)) {
  test(`${kind}: windows of any length give the frames of the whole, to the end`, async () => {
    const whole = await classifyWhole(join(dir, kind), samples);
    const head = await readHead(join(dir, kind));
    const bias = head.tensors.find(({ name }) => name === 'alignment.utterance_bias').data;
    const forward = new IslandForward(bias, head.alignment);
    forward.push(whole.alignment.frameLogits);
    forward.logits().forEach((logit, c) => {
      near(logit / whole.alignment.logits[c], 1, 1e-6, labels[c]);
    });
    const decoder = new RecordingDecoder(labels.length, tinyAlignment, 0.02);
    const parts = [decoder.push(whole.alignment.frameLogits), decoder.finish()];
    const posteriors = parts.flatMap((part) => [...part.posteriors]);
    const path = parts.flatMap((part) => [...part.path]);

    const model = keep(await EmotionModel.load(join(dir, kind)));
    const found = [];
    for (const windowSeconds of [2, 3.5, 5, 9])
      found.push(await model.predict(samples, { windowSeconds, overlapSeconds: 0.5 }));
    for (const prediction of found) {
      const { frames, segments } = prediction;
      assert.is(frames.length, path.length);
      assert.ok(segments.length > 3, 'the test needs a timeline that changes');
      for (const [t, { time, posterior }] of frames.entries()) {
        posterior.forEach((p, c) => {
          near(p, posteriors[t * labels.length + c], 1e-4, `frame ${t}`);
        });
        assert.is(segments.find(({ end }) => time < end).label, labels[path[t]], `frame ${t}`);
      }
      // What the classifier is given depends on the window.
      alike(prediction, found[0], pooling === null);
      if (pooling !== null) continue;
      const logits = whole.alignment.logits.map((logit) => calibration.alignment * logit);
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      assert.ok(Math.exp(Math.max(...logits)) / total < 0.95, 'the test needs a decision that is not certain');
      labels.forEach((label, c) => {
        near(prediction.probabilities[label], Math.exp(logits[c]) / total, 1e-4, label);
      });
    }
  });

  test(`${kind}: a stream gives the frames, segments and decision of a prediction, a second later`, async () => {
    const model = keep(await EmotionModel.load(join(dir, kind)));
    const options = { windowSeconds: 3, overlapSeconds: 0.6, switchingCost: 1 };
    const whole = await model.predict(samples, options);
    const chunks = await collect(model.stream(samples, options));
    const frames = chunks.flatMap((chunk) => chunk.frames);
    const strip = ({ time, posterior, cluster }) => ({ time, posterior, cluster });
    assert.equal(frames.map(strip), whole.frames.map(strip));
    assert.equal(
      chunks.flatMap(({ segments }) => segments),
      whole.segments,
    );
    assert.equal(chunks.at(-1).soFar, { label: whole.label, probabilities: whole.probabilities });
    const weights = frames.map(({ score }) => Math.exp(score));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const [t, { attention }] of whole.frames.entries()) near(weights[t] / total, attention, 1e-6, `weight ${t}`);

    assert.is(chunks[0].start, 0);
    near(chunks.at(-1).end, whole.seconds, 1e-4, 'the end');
    for (const [i, { start, end, frames: own, last }] of chunks.entries()) {
      assert.is(last, i === chunks.length - 1);
      if (i > 0) assert.is(start, chunks[i - 1].end);
      for (const { time } of own) assert.ok(time > start && time < end);
    }
    // A window of 150 frames, of which 30 are dropped at its end, and 50 that wait for what follows.
    const chunked = kind === 'features' ? 150 : 140;
    assert.is(chunks[0].frames.length, chunked - 30 - 50);
  });
}

test('in windows the cost of a switch is that of the timeline, and posteriors are as they are', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'features')));
  const windows = { windowSeconds: 5 };
  const rough = await model.predict(samples, { ...windows, switchingCost: 0 });
  const smooth = await model.predict(samples, { ...windows, switchingCost: 1000 });
  const usual = await model.predict(samples, windows);
  assert.is(smooth.segments.length, 1);
  assert.ok(rough.segments.length > usual.segments.length);
  assert.equal(rough.columns, smooth.columns);
  const streamed = await collect(model.stream(samples, { ...windows, switchingCost: 1000 }));
  assert.equal(
    streamed.flatMap(({ segments }) => segments),
    smooth.segments,
  );
  const trained = await model.predict(samples, { ...windows, switchingCost: tinyAlignment.switchingCost });
  assert.equal(usual, trained);
});

test('of live audio a frame comes when it was said to, at the latest', async () => {
  for (const kind of ['features', 'hidden']) {
    const model = keep(await EmotionModel.load(join(dir, kind), { clusters: false }));
    for (const windows of [
      { windowSeconds: 2, overlapSeconds: 0.5 },
      { windowSeconds: 4, overlapSeconds: 1.5 },
    ]) {
      let sent = 0;
      const block = 320;
      async function* microphone() {
        for (; sent < samples.length; sent += block) yield samples.subarray(sent, sent + block);
      }
      const latency = model.latencySeconds(windows);
      let longest = 0;
      const chunks = [];
      for await (const chunk of model.stream(microphone(), windows)) {
        chunks.push(chunk);
        // A frame is there with its last sample, 12.5 ms after its centre.
        for (const { time } of chunk.frames) longest = Math.max(longest, (sent + block) / 16000 - time - 0.0125);
      }
      assert.ok(longest <= latency + 0.03, `${kind}: ${longest} s, where ${latency} s were promised`);
      assert.ok(longest > latency - 0.4, `${kind}: ${longest} s, where ${latency} s were promised`);
      assert.equal(chunks, await collect(model.stream(samples, { ...windows, normalizeBy: 'window' })));
    }
  }
});

test('with statistics of its own a network gives for live audio what it gives for the whole', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'statistics'), { clusters: false }));
  const windows = { windowSeconds: 3 };
  const [live, whole] = [
    await collect(model.stream(samples, { ...windows, normalizeBy: 'window' })),
    await collect(model.stream(samples, { ...windows, normalizeBy: 'whole' })),
  ];
  assert.equal(live, whole);
  const other = keep(await EmotionModel.load(join(dir, 'output')));
  const first = async (normalizeBy) => (await collect(other.stream(samples, { ...windows, normalizeBy })))[0].frames;
  assert.not.equal(await first('window'), await first('whole'), 'the test sees a difference');
});

test('audio of one window streams as a recording too', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'features')));
  const short = samples.subarray(0, 16000);
  const chunks = await collect(model.stream(short));
  assert.is(chunks.length, 1);
  assert.is(chunks[0].frames.length, 49);
  const { label, probabilities } = await model.predict(short);
  assert.is(chunks[0].soFar.label, label);
  for (const [name, p] of Object.entries(probabilities)) near(chunks[0].soFar.probabilities[name], p, 1e-5, name);
});

test('windows with too little context are refused before anything is computed', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'hidden')));
  const short = { windowSeconds: 4, overlapSeconds: 0.3 };
  const needs = /overlapSeconds of at least 0\.5.*received 0\.3/;
  await refused(model.predict(samples, short), 'ERR_ARGUMENT', needs);
  await refused(collect(model.stream(samples, short)), 'ERR_ARGUMENT', needs);
  await refused(collect(model.predictMany([samples], short)), 'ERR_ARGUMENT', needs);
  await refused(model.plan({ windowSeconds: 1 }), 'ERR_ARGUMENT', /windowSeconds of at least 1\.6/);
  await refused(async () => model.latencySeconds(short), 'ERR_ARGUMENT', needs);
  assert.equal((await model.predict(samples, { windowSeconds: 2.5 })).windows, { seconds: 2.4, overlap: 0.5 });
});

test.run();
