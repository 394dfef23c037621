import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BalancedSampler, PretrainingSampler } from '../../dist/batch/samplers.js';
import { PhiloxStream } from '../../dist/random/philox.js';

function corpus(count, seed = 1) {
  const random = new PhiloxStream(seed, 0, 0);
  return Array.from({ length: count }, (_, i) => ({ id: `u${i}`, frames: 20 + random.integer(1500) }));
}
const options = { seed: 7, batchFrames: 4000, maxFrames: 780, minFrames: 50 };

test('an epoch holds every utterance once, within the capacity, in even updates', () => {
  const items = corpus(200);
  const sampler = new PretrainingSampler(items, options);
  const used = items.filter(({ frames }) => frames >= 50);
  for (let step = 0, epoch = 0; epoch < 3; epoch++) {
    const seen = [];
    const sizes = [];
    for (; sampler.epochOf(step) === epoch; step++) {
      const draws = sampler.at(step);
      sizes.push(draws.reduce((sum, { count }) => sum + count, 0));
      seen.push(...draws.map(({ id }) => id));
    }
    assert.equal(seen.sort(), used.map(({ id }) => id).sort());
    assert.ok(Math.max(...sizes) <= 4000, `largest ${Math.max(...sizes)}`);
    assert.ok(Math.min(...sizes) > 4000 / 2, `smallest ${Math.min(...sizes)}`);
  }
});

test('utterances that are too short are named', () => {
  const items = [
    { id: 'long', frames: 60 },
    { id: 'short', frames: 49 },
  ];
  assert.equal(new PretrainingSampler(items, options).excluded, ['short']);
});

test('no utterance long enough is an error that says what to do', () => {
  assert.throws(
    () => new PretrainingSampler([{ id: 'short', frames: 49 }], options),
    (error) => error.code === 'ERR_CORPUS' && /minSeconds/.test(error.message),
  );
});

test('crops lie within the utterance, have the longest length, and differ', () => {
  const sampler = new PretrainingSampler([{ id: 'a', frames: 1000 }], options);
  const starts = new Set();
  for (let step = 0; step < 200; step++) {
    const [{ start, count }] = sampler.at(step);
    assert.is(count, 780);
    assert.ok(start >= 0 && start + count <= 1000);
    starts.add(start);
  }
  assert.ok(starts.size > 100);
  assert.ok(starts.has(0) || Math.min(...starts) < 10);
  assert.ok(Math.max(...starts) > 210);
});

test('a draw depends on seed and step alone', () => {
  const inOrder = new PretrainingSampler(corpus(100), options);
  const before = Array.from({ length: 40 }, (_, step) => inOrder.at(step));
  const fresh = new PretrainingSampler(corpus(100), options);
  assert.equal(fresh.at(33), before[33]);
  assert.equal(fresh.at(2), before[2]);
  assert.not.equal(new PretrainingSampler(corpus(100), { ...options, seed: 8 }).at(2), before[2]);

  const items = corpus(30).map((item, i) => ({ ...item, label: i % 3 }));
  const balanced = (seed) => new BalancedSampler(items, { seed, batchSize: 8, maxFrames: 299 });
  const first = balanced(1);
  first.at(0);
  assert.equal(first.at(5), balanced(1).at(5));
  assert.not.equal(balanced(1).at(6), balanced(1).at(5));
  assert.not.equal(balanced(2).at(5), balanced(1).at(5));
});

test('classes are drawn alike, and utterances alike within a class', () => {
  const items = [
    ...Array.from({ length: 90 }, (_, i) => ({ id: `n${i}`, frames: 500, label: 0 })),
    ...Array.from({ length: 10 }, (_, i) => ({ id: `a${i}`, frames: 100, label: 3 })),
  ];
  const sampler = new BalancedSampler(items, { seed: 1, batchSize: 64, maxFrames: 299 });
  assert.is(sampler.updatesPerEpoch, 2);
  const rare = new Map();
  let draws = 0;
  for (let step = 0; step < 200; step++) {
    const batch = sampler.at(step);
    assert.is(batch.length, 64);
    for (const { id, label, start, count } of batch) {
      draws++;
      assert.is(start, 0);
      assert.is(count, label === 3 ? 100 : 299);
      if (label === 3) rare.set(id, (rare.get(id) ?? 0) + 1);
    }
  }
  const total = [...rare.values()].reduce((a, b) => a + b);
  assert.ok(Math.abs(total / draws - 0.5) < 0.025, String(total / draws));
  assert.is(rare.size, 10);
  for (const count of rare.values()) assert.ok(Math.abs(count / total - 0.1) < 0.025, String(count / total));
});

test.run();
