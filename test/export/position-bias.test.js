// Biases of distances, which an exported graph has as numbers.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bucketOf, distanceTable, slopesOf } from '../../dist/export/positionBias.js';

const test = suite('export: biases of distances');

test('buckets of distances are one each when near, wider with distance, and one beyond reach', () => {
  const shape = { buckets: 320, reach: 800 };
  const buckets = (...distances) => distances.map((distance) => bucketOf(distance, shape));
  assert.equal(buckets(0, -1, -79, -80), [0, 1, 79, 80]);
  // Keys after the query have the other half.
  assert.equal(buckets(1, 79, 80), [161, 239, 240]);
  // 80 + 80 · ln(d / 80) / ln 10
  assert.equal(buckets(-82, -83, -100, -400, -777, -778), [80, 81, 87, 135, 158, 159]);
  assert.equal(buckets(-800, -5000, 800, 5000), [159, 159, 319, 319]);
  // Where the logarithm is a whole number: 16 is the third power of 2 behind 8, of four to 128.
  assert.equal(bucketOf(-16, { buckets: 32, reach: 128 }), 10);
});

test('a table of distances has the value of each one’s bucket, head by head', async () => {
  const data = Float32Array.from({ length: 16 }, (_, i) => i);
  const embedding = { name: 'embedding', shape: [8, 2], read: async () => data };
  const { shape, read } = distanceTable(embedding, { buckets: 8, reach: 4 });
  assert.equal(shape, [2, 9]);
  const expected = [-4, -3, -2, -1, 0, 1, 2, 3, 4].map((d) => bucketOf(d, { buckets: 8, reach: 4 }));
  assert.equal([...(await read())], [...expected.map((b) => 2 * b), ...expected.map((b) => 2 * b + 1)]);
  assert.equal(expected, [3, 3, 2, 1, 0, 5, 6, 7, 7]);
});

test('slopes of heads: powers of two, and between them those of twice as many', () => {
  assert.equal(slopesOf(4), [2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8]);
  assert.equal(
    slopesOf(8),
    [1, 2, 3, 4, 5, 6, 7, 8].map((power) => 2 ** -power),
  );
  assert.equal(
    slopesOf(12).slice(8),
    [0.5, 1.5, 2.5, 3.5].map((power) => 2 ** -power),
  );
});

test.run();
