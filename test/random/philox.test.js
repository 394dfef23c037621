import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { deriveSeed, PhiloxStream, philox, philoxBlock } from '../../dist/random/philox.js';

const hex = (words) => words.map((word) => word.toString(16).padStart(8, '0')).join(' ');

test('Random123 known answers', () => {
  const ones = 0xffffffff;
  assert.is(hex(philoxBlock([0, 0, 0, 0], [0, 0])), '6627e8d5 e169c58d bc57ac4c 9b00dbd8');
  assert.is(hex(philoxBlock([ones, ones, ones, ones], [ones, ones])), '408f276d 41c83b0e a20bc7c6 6d5451fd');
  assert.is(
    hex(philoxBlock([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])),
    'd16cfe09 94fdcceb 5001e420 24126ea1',
  );
});

test('seed, step, site and index go where native/philox.h puts them', () => {
  const seed = 2 ** 52 + 12345;
  const index = 2 ** 34 + 7;
  const expected = philoxBlock([7, 4, 5, 9], [12345, 2 ** 20]);
  assert.equal(philox(seed, 9, 5, index), expected);
  assert.equal(philox(BigInt(seed), 9, 5, index), expected);
});

test('a number is the same by index and in the stream', () => {
  const stream = new PhiloxStream(5, 6, 7);
  for (let index = 0; index < 10; index++)
    assert.is(stream.uniform(), (philox(5, 6, 7, Math.floor(index / 4))[index % 4] >>> 8) / 2 ** 24);
});

test('integers are uniform over their range', () => {
  const stream = new PhiloxStream(1, 0, 0);
  const counts = new Array(7).fill(0);
  for (let i = 0; i < 7000; i++) counts[stream.integer(7)]++;
  // Five standard deviations.
  for (const count of counts) assert.ok(Math.abs(count - 1000) < 5 * Math.sqrt(1000 * (6 / 7)), String(counts));
});

test('normals have mean 0 and variance 1', () => {
  const stream = new PhiloxStream(2, 0, 0);
  const values = Array.from({ length: 10000 }, () => stream.normal());
  const mean = values.reduce((a, b) => a + b) / values.length;
  const variance = values.reduce((sum, value) => sum + value ** 2, 0) / values.length;
  assert.ok(Math.abs(mean) < 0.05, `mean ${mean}`);
  assert.ok(Math.abs(variance - 1) < 0.07, `variance ${variance}`);
});

test('a shuffle keeps every item and every order is alike', () => {
  const first = new Array(4).fill(0);
  for (let step = 0; step < 4000; step++) {
    const order = new PhiloxStream(3, step, 0).shuffle([0, 1, 2, 3]);
    assert.equal([...order].sort(), [0, 1, 2, 3]);
    first[order[0]]++;
  }
  for (const count of first) assert.ok(Math.abs(count - 1000) < 5 * Math.sqrt(750), String(first));
});

test('parts of a run have seeds of their own', () => {
  const seeds = [
    deriveSeed(1, 'session1', 'tapt'),
    deriveSeed(1, 'session1', 'align'),
    deriveSeed(1, 'session2', 'tapt'),
    deriveSeed(2, 'session1', 'tapt'),
    deriveSeed(1, 'session1tapt'),
  ];
  assert.is(new Set(seeds).size, seeds.length);
  for (const seed of seeds) assert.ok(Number.isSafeInteger(seed));
  assert.is(deriveSeed(1, 'session1', 'tapt'), seeds[0]);
});

test.run();
