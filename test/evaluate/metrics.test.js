import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bootstrapInterval, utteranceMetrics } from '../../dist/index.js';

const golden = JSON.parse(readFileSync(new URL('../fixtures/metrics.json', import.meta.url)));
const near = (actual, expected, tolerance = 1e-12) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

test('scores agree with scikit-learn, a class that is predicted but never true included', () => {
  const metrics = utteranceMetrics(golden.truth, golden.predicted, golden.classes);
  near(metrics.wa, golden.wa);
  near(metrics.ua, golden.ua);
  near(metrics.macroF1, golden.macroF1);
  assert.equal(metrics.confusion, golden.confusion);
});

test('a class that is absent from the truth is left out of UA and named', () => {
  const metrics = utteranceMetrics([0, 0, 2, 2], [0, 0, 2, 0], 3);
  assert.equal(metrics.absent, [1]);
  assert.is(metrics.ua, 0.75);
  assert.ok(Number.isNaN(metrics.recalls[1]));
});

test('macro-F1 counts a class that is predicted, and leaves out one that is neither true nor predicted', async () => {
  const truth = [0, 0, 1, 1];
  // F1 of class 0: 2 of 2 found, 3 guessed. F1 of class 1: 1 of 2 found, 1 guessed.
  near(utteranceMetrics(truth, [0, 0, 1, 0], 4).macroF1, (4 / 5 + 2 / 3) / 2);
  near(utteranceMetrics(truth, [0, 0, 1, 3], 4).macroF1, (1 + 2 / 3 + 0) / 3);
  // A resample may lack a class: with all right its macro-F1 is 1 all the same.
  assert.equal(await bootstrapInterval(truth, truth, 4, 'macroF1', { samples: 200, seed: 1 }), [1, 1]);
});

test('nothing to score is an error', () => {
  assert.throws(
    () => utteranceMetrics([], [], 2),
    (error) => error.code === 'ERR_CORPUS',
  );
});

test('the bootstrap interval is that of the binomial, and the same for the same seed', async () => {
  const truth = new Array(400).fill(0);
  const predicted = truth.map((_, i) => (i % 4 === 0 ? 1 : 0));
  const interval = (seed, samples) => bootstrapInterval(truth, predicted, 2, 'wa', { samples, seed });
  const [low, high] = await interval(1, 2000);
  const halfWidth = 1.96 * Math.sqrt((0.75 * 0.25) / 400);
  near(low, 0.75 - halfWidth, 0.006);
  near(high, 0.75 + halfWidth, 0.006);
  assert.equal(await interval(1, 20), await interval(1, 20));
  assert.not.equal(await interval(1, 20), await interval(2, 20));
});

test.run();
