import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { learningRateShare } from '../../dist/stages/schedule.js';

const near = (actual, expected) => assert.ok(Math.abs(actual - expected) < 1e-12, `${actual} is not ${expected}`);

test('linear: warm-up to the peak, then to 0 just after the last update', () => {
  const schedule = { decay: 'linear', warmupUpdates: 4, updates: 10 };
  // PyTorch's LambdaLR with transformers' linear lambda gives 0, 1/4, 2/4, 3/4, 1, 5/6, 4/6, 3/6, 2/6, 1/6: here the
  // warm-up is one update ahead.
  const expected = [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6];
  for (const [update, share] of expected.entries()) near(learningRateShare(update, schedule), share);
  near(learningRateShare(10, schedule), 0);
});

test('constant: the peak is kept after the warm-up', () => {
  const schedule = { decay: 'constant', warmupUpdates: 2, updates: 6 };
  assert.equal(
    Array.from({ length: 6 }, (_, update) => learningRateShare(update, schedule)),
    [0.5, 1, 1, 1, 1, 1],
  );
});

test('without warm-up the first update has the peak', () => {
  near(learningRateShare(0, { decay: 'linear', warmupUpdates: 0, updates: 5 }), 1);
  near(learningRateShare(4, { decay: 'linear', warmupUpdates: 0, updates: 5 }), 1 / 5);
});

test('a run of the paper: 20 000 updates', () => {
  const schedule = { decay: 'linear', warmupUpdates: 4000, updates: 20000 };
  near(learningRateShare(1999, schedule), 0.5);
  near(learningRateShare(12000, schedule), 0.5);
});

test.run();
