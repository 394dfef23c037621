import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cccIntervals, valueMetrics } from '../../dist/index.js';

const golden = JSON.parse(readFileSync(new URL('../fixtures/concordance.json', import.meta.url)));
const near = (actual, expected, tolerance) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

test('CCC, Pearson and RMSE agree with numpy, far from zero and negative correlation included', () => {
  for (const { truth, predicted, ...expected } of golden) {
    const found = valueMetrics(truth, predicted);
    for (const [name, value] of Object.entries(expected)) near(found[name], value, 1e-10);
  }
});

test('an offset lowers CCC and leaves Pearson; equal values have a CCC of 1', () => {
  const truth = [0.1, 0.4, 0.9];
  const shifted = truth.map((value) => value + 0.5);
  near(valueMetrics(truth, truth).ccc, 1, 1e-12);
  near(valueMetrics(truth, shifted).pearson, 1, 1e-12);
  assert.ok(valueMetrics(truth, shifted).ccc < 0.5);
});

test('what does not vary has no correlation; nothing to score is an error', async () => {
  assert.equal(valueMetrics([0.5, 0.5], [0.5, 0.5]), { ccc: 0, pearson: 0, rmse: 0 });
  assert.equal(valueMetrics([0, 1], [0.5, 0.5]), { ccc: 0, pearson: 0, rmse: 0.5 });
  assert.throws(
    () => valueMetrics([], []),
    (error) => error.code === 'ERR_CORPUS',
  );
});

test('bootstrap intervals hold the CCC of each dimension and their mean, and are the same for the same seed', async () => {
  const [first, second] = golden;
  const truth = [first.truth, second.truth];
  const predicted = [first.predicted, second.predicted];
  const intervals = await cccIntervals(truth, predicted, { samples: 400, seed: 1 });
  const expected = [first.ccc, second.ccc, (first.ccc + second.ccc) / 2];
  assert.is(intervals.length, 3);
  for (const [index, [low, high]] of intervals.entries()) {
    assert.ok(low < expected[index] && expected[index] < high && high - low < 0.4, `${low} to ${high}`);
  }
  assert.equal(await cccIntervals(truth, predicted, { samples: 400, seed: 1 }), intervals);
  assert.not.equal(await cccIntervals(truth, predicted, { samples: 400, seed: 2 }), intervals);
});

test.run();
