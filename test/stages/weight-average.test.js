import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { WeightAverage } from '../../dist/stages/weightAverage.js';

const weights = (...values) => [
  { name: 'a', shape: [2], read: async (into) => filled(into, [values[0], values[1]]) },
  { name: 'b', shape: [1], read: async (into) => filled(into, [values[2]]) },
];
function filled(into, values) {
  const data = into?.subarray(0, values.length) ?? new Float32Array(values.length);
  data.set(values);
  return data;
}
const valuesOf = ({ tensors }) =>
  [...tensors].sort((a, b) => a.name.localeCompare(b.name)).flatMap(({ data }) => [...data]);

test('the mean of all that was added, tensor by tensor', async () => {
  const average = new WeightAverage();
  assert.equal(average.tensors, []);
  for (const values of [[1, 2, 3], [3, 2, 9], [2, 5, 0]]) await average.add(weights(...values)); // biome-ignore format: a table
  assert.is(average.count, 3);
  assert.equal(valuesOf(average), [2, 3, 4]);
  assert.equal(
    average.tensors.map(({ name, shape }) => [name, shape]),
    [
      ['a', [2]],
      ['b', [1]],
    ],
  );
});

test('one that was kept, in whatever order, and taken up goes on to the same bits', async () => {
  const steps = Array.from({ length: 6 }, (_, i) => [Math.sin(i), 1 / (i + 3), i * 1e-7 + 1]);
  const whole = new WeightAverage();
  for (const values of steps) await whole.add(weights(...values));
  const first = new WeightAverage();
  for (const values of steps.slice(0, 4)) await first.add(weights(...values));
  const second = new WeightAverage();
  await second.restore(first.storedTensors().reverse(), first.count);
  for (const values of steps.slice(4)) await second.add(weights(...values));
  assert.equal(valuesOf(second), valuesOf(whole));
});

test.run();
