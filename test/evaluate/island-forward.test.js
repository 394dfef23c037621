import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { IslandForward } from '../../dist/evaluate/islandForward.js';
import { generator } from '../support/syntheticRun.js';

const test = suite('island forward');
const islands = { neutral: 1, scale: 0.4, switchingCost: 1.5 };
const classes = 3;
const bias = Float32Array.of(0.25, -0.5, 1);

function frameLogits(frames, seed = 1) {
  const random = generator(seed);
  return Float32Array.from({ length: frames * classes }, () => 12 * (random() - 0.5));
}

function logitsOf(frames, parts = [frames.length]) {
  const forward = new IslandForward(bias, islands);
  let at = 0;
  for (const part of parts) {
    forward.push(frames.subarray(at, at + part));
    at += part;
  }
  assert.is(at, frames.length);
  return forward.logits();
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** The sum of all paths' weights, one by one: n0 → e ⇄ n1, each frame's state a digit. */
function enumerated(frames, emotion) {
  const length = frames.length / classes;
  const evidence = (t) => islands.scale * (frames[t * classes + emotion] - frames[t * classes + islands.neutral]);
  const next = { before: ['before', 'inside'], inside: ['inside', 'after'], after: ['after', 'inside'] };
  const sumFrom = (state, t) => {
    const weight = state === 'inside' ? Math.exp(evidence(t)) : 1;
    if (t === length - 1) return state === 'before' ? 0 : weight;
    const [stay, leave] = next[state];
    const { switchingCost: cost } = islands;
    return weight * (sigmoid(cost) * sumFrom(stay, t + 1) + sigmoid(-cost) * sumFrom(leave, t + 1));
  };
  return Math.log(0.5 * sumFrom('before', 0) + 0.5 * sumFrom('inside', 0));
}

test('an emotion’s logit sums up the weights of all its paths', () => {
  for (const length of [1, 2, 3, 7, 10]) {
    const frames = frameLogits(length, length);
    const found = logitsOf(frames);
    assert.is(found[1], bias[1]);
    for (const c of [0, 2]) assert.ok(Math.abs(found[c] - bias[c] - enumerated(frames, c)) < 1e-6, `${length} frames`);
  }
});

test('without frames the logits are the biases', () => {
  assert.equal(logitsOf(new Float32Array()), bias);
});

test('parts give what the whole gives, and so far that of the frames so far', () => {
  const frames = frameLogits(40);
  assert.equal(logitsOf(frames, [3, 0, 60, 57]), logitsOf(frames));
  const forward = new IslandForward(bias, islands);
  forward.push(frames.subarray(0, 30));
  assert.equal(forward.logits(), logitsOf(frames.subarray(0, 30)));
  forward.push(frames.subarray(30));
  assert.equal(forward.logits(), logitsOf(frames));
});

test('hours of frames, and emotions that never were, stay finite', () => {
  const forward = new IslandForward(bias, islands);
  const frames = frameLogits(90_000);
  for (const level of [1, 50, -50]) {
    forward.push(frames.map((value, i) => value + (i % classes === 0 ? level : 0)));
    for (const logit of forward.logits()) assert.ok(Number.isFinite(logit));
  }
});

test.run();
