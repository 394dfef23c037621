import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Smoother } from '../../dist/evaluate/viterbi.js';
import { smooth, toSegments } from '../../dist/index.js';

/** Posteriors that wander like a model's, from a small linear congruential generator. */
function randomPosteriors(frames, classes, seed) {
  let state = seed;
  const rows = new Float32Array(frames * classes);
  for (let t = 0; t < frames; t++) {
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += rows[t * classes + c] = 0.05 + state / 2 ** 32;
    }
    for (let c = 0; c < classes; c++) rows[t * classes + c] /= sum;
  }
  return rows;
}

function scoreOf(path, posteriors, classes, cost) {
  let score = 0;
  for (let t = 0; t < path.length; t++) {
    score += Math.log(posteriors[t * classes + path[t]]);
    if (t > 0 && path[t] !== path[t - 1]) score -= cost;
  }
  return score;
}

test('no path scores higher, by trying them all', () => {
  const frames = 7;
  const classes = 3;
  for (const cost of [0, 0.3, 1, 4]) {
    for (let seed = 1; seed <= 5; seed++) {
      const posteriors = randomPosteriors(frames, classes, seed);
      let best = Number.NEGATIVE_INFINITY;
      for (let code = 0; code < classes ** frames; code++) {
        const path = Array.from({ length: frames }, (_, t) => Math.floor(code / classes ** t) % classes);
        best = Math.max(best, scoreOf(path, posteriors, classes, cost));
      }
      const found = scoreOf(smooth(posteriors, classes, cost), posteriors, classes, cost);
      assert.ok(Math.abs(found - best) < 1e-9, `cost ${cost}, seed ${seed}: ${found} instead of ${best}`);
    }
  }
});

test('a cost of nothing is the argmax; a high cost keeps one class', () => {
  const posteriors = Float32Array.of(0.9, 0.1, 0.4, 0.6, 0.9, 0.1);
  assert.equal([...smooth(posteriors, 2, 0)], [0, 1, 0]);
  assert.equal([...smooth(posteriors, 2, 100)], [0, 0, 0]);
});

test('a posterior of exactly zero does not forbid a class for ever', () => {
  assert.equal([...smooth(Float32Array.of(0, 1, 1, 0, 1, 0, 1, 0), 2, 50)], [0, 0, 0, 0]);
});

test('no frames give no path', () => {
  assert.is(smooth(new Float32Array(0), 3, 1).length, 0);
});

test('segments cover the utterance, meet midway between frames and carry the mean posterior', () => {
  const times = { frameSeconds: 0.02, frameCenterSeconds: (i) => (320 * i + 200) / 16000 };
  const posteriors = Float32Array.of(0.75, 0.25, 0.5, 0.5, 0.25, 0.75);
  const segments = toSegments(Int32Array.of(0, 0, 1), posteriors, ['ang', 'neu'], times, 0.07);
  assert.equal(segments, [
    { start: 0, end: 0.0425, label: 'ang', confidence: 0.625 },
    { start: 0.0425, end: 0.07, label: 'neu', confidence: 0.75 },
  ]);
  const last = toSegments(Int32Array.of(1), Float32Array.of(0.25, 0.75), ['ang', 'neu'], times, 0.025);
  assert.equal(last, [{ start: 0, end: 0.025, label: 'neu', confidence: 0.75 }]);
});

test('frames that come in parts get the path of all at once, each as soon as nothing can change it', () => {
  const [frames, classes] = [400, 3];
  const posteriors = randomPosteriors(frames, classes, 7);
  const whole = [...smooth(posteriors, classes, 2)];
  for (const part of [1, 7, 100]) {
    const smoother = new Smoother(classes, 2);
    const path = [];
    let latest = 0;
    for (let frame = 0; frame < frames; frame += part) {
      path.push(...smoother.push(posteriors.subarray(frame * classes, (frame + part) * classes)));
      latest = Math.max(latest, Math.min(frame + part, frames) - path.length);
      assert.equal(path, whole.slice(0, path.length));
    }
    assert.ok(latest < 150, `a frame waited for ${latest} more`);
    assert.equal([...path, ...smoother.finish()], whole);
  }
});

test.run();
