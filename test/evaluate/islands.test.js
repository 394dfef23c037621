import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { RecordingDecoder, utteranceTimeline } from '../../dist/evaluate/alignmentTimeline.js';
import { emotionalShare } from '../../dist/evaluate/emotionalShare.js';
import { EmotionChain } from '../../dist/evaluate/emotionChain.js';
import { probabilitiesOf } from '../../dist/evaluate/fusion.js';
import { evidenceOf, islandPosteriors } from '../../dist/evaluate/islands.js';
import { smooth } from '../../dist/index.js';
import { generator } from '../support/syntheticRun.js';

const classes = 3;
const islands = { neutral: 1, scale: 0.4, switchingCost: 1.5 };
const random = generator(4);
const numbers = (frames, size = 4) => Float32Array.from({ length: frames * classes }, () => size * (random() - 0.5));
const near = (found, expected, tolerance, message) =>
  assert.ok(Math.abs(found - expected) <= tolerance, `${message}: ${found} is not ${expected}`);

test('evidence is against neutral, and counts by the scale', () => {
  const evidence = evidenceOf(Float32Array.of(3, 1, -1, 0, 0.5, 2), classes, islands);
  assert.equal([...evidence], [...Float32Array.of(0.8, 0, -0.8, -0.2, 0, 0.6)]);
});

test('a frame is of an emotion where the utterance is of it and the frame in its island; the rest is neutral', () => {
  const occupancies = Float32Array.of(0.5, 0, 1, 0.25, 0, 0);
  const posteriors = islandPosteriors([0.6, 0.3, 0.1], occupancies, 1);
  for (const [i, expected] of [0.3, 0.6, 0.1, 0.15, 0.85, 0].entries())
    near(posteriors[i], expected, 1e-6, `value ${i}`);
});

test('an utterance’s timeline is neutral and its own emotion, where that is more likely in than out', () => {
  const occupancies = Float32Array.of(0.4, 0, 0.9, 0.6, 0, 0.9, 0.5, 0, 0.9);
  assert.equal([...utteranceTimeline(occupancies, [0.5, 0.2, 0.3], islands).path], [1, 0, 1]);
  assert.equal([...utteranceTimeline(occupancies, [0.2, 0.2, 0.6], islands).path], [2, 2, 2]);
  // Of a neutral one no frame is of an emotion, however sure an island were.
  assert.equal([...utteranceTimeline(occupancies, [0.3, 0.4, 0.3], islands).path], [1, 1, 1]);
  const { posteriors } = utteranceTimeline(occupancies, [0.5, 0.2, 0.3], islands);
  assert.equal(posteriors, islandPosteriors([0.5, 0.2, 0.3], occupancies, 1));
  const none = utteranceTimeline(new Float32Array(), [0.5, 0.2, 0.3], islands);
  assert.equal([none.path.length, none.posteriors.length], [0, 0]);
});

test('without a pooled classifier a frame’s weight is its share of what is not neutral', () => {
  const weights = emotionalShare(Float32Array.of(0.1, 0.8, 0.1, 0.5, 0.4, 0.1, 0, 1, 0), classes, 1);
  for (const [frame, expected] of [0.25, 0.75, 0].entries()) near(weights[frame], expected, 1e-6, `frame ${frame}`);
  const [a, b] = emotionalShare(Float32Array.of(0, 1, 0, 0, 1, 0), classes, 1);
  assert.equal([a, b], [0.5, 0.5]);
});

/** Posteriors of a frame given those up to `last`, from every path of classes, one by one. */
function enumerated(evidence, frame, last) {
  const stay = 1 / (1 + Math.exp(-islands.switchingCost));
  const change = (1 - stay) / (classes - 1);
  const sums = new Array(classes).fill(0);
  for (let code = 0; code < classes ** (last + 1); code++) {
    const path = Array.from({ length: last + 1 }, (_, t) => Math.floor(code / classes ** t) % classes);
    let weight = 1 / classes;
    for (const [t, c] of path.entries()) {
      weight *= Math.exp(evidence[t * classes + c]);
      if (t > 0) weight *= c === path[t - 1] ? stay : change;
    }
    sums[path[frame]] += weight;
  }
  const total = sums.reduce((a, b) => a + b);
  return sums.map((sum) => sum / total);
}

function chained(evidence, lag, parts = [evidence.length]) {
  const chain = new EmotionChain(classes, islands, lag);
  const found = [];
  let at = 0;
  for (const part of parts) {
    found.push(...chain.push(evidence.subarray(at, at + part)));
    at += part;
  }
  assert.is(at, evidence.length);
  return [...found, ...chain.finish()];
}

test('a frame’s posterior is that of all paths over the frames before it and a few after it', () => {
  const frames = 8;
  const evidence = numbers(frames);
  for (const lag of [0, 1, 3, 7, 20]) {
    const found = chained(evidence, lag);
    assert.is(found.length, evidence.length);
    for (let frame = 0; frame < frames; frame++) {
      const expected = enumerated(evidence, frame, Math.min(frame + lag, frames - 1));
      for (const [c, value] of expected.entries())
        near(found[frame * classes + c], value, 1e-6, `lag ${lag}, frame ${frame}, class ${c}`);
    }
  }
});

test('the parts in which frames come change nothing, and what is due comes at once', () => {
  const evidence = numbers(60);
  const whole = chained(evidence, 10);
  for (const parts of [[3, 0, 90, 87], new Array(60).fill(3)]) assert.equal(chained(evidence, 10, parts), whole);
  const chain = new EmotionChain(classes, islands, 10);
  assert.is(chain.push(evidence.subarray(0, 30)).length, 0);
  assert.is(chain.push(evidence.subarray(30, 36)).length, 6);
  assert.is(chain.finish().length, 30);
});

test('evidence of any size gives posteriors', () => {
  for (const size of [0, 1e3, 1e6]) {
    const found = chained(numbers(200, size), 25);
    for (let frame = 0; frame < 200; frame++)
      near(found[3 * frame] + found[3 * frame + 1] + found[3 * frame + 2], 1, 1e-5, `frame ${frame}`);
  }
});

test('a recording is decoded as a chain and a smoothed path, whatever its parts', () => {
  const logits = numbers(120, 20);
  const evidence = evidenceOf(logits, classes, islands);
  const rows = Float32Array.from(
    Array.from({ length: 120 }, (_, t) => probabilitiesOf(evidence.subarray(3 * t, 3 * t + 3))).flat(),
  );
  for (const cost of [undefined, 0.2, 6]) {
    for (const parts of [[360], [30, 3, 0, 327], new Array(120).fill(3)]) {
      // A second of frames, in which chain and path may wait.
      const decoder = new RecordingDecoder(classes, islands, 0.05, cost);
      const found = { posteriors: [], path: [] };
      const take = ({ posteriors, path }) => {
        found.posteriors.push(...posteriors);
        found.path.push(...path);
      };
      let at = 0;
      for (const part of parts) {
        take(decoder.push(logits.subarray(at, at + part)));
        at += part;
      }
      take(decoder.finish());
      assert.equal(found.posteriors, chained(evidence, 20));
      assert.equal(found.path, [...smooth(rows, classes, cost ?? islands.switchingCost)]);
    }
  }
});

test.run();
