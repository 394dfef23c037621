// Peaks of GPUs beside those of NVIDIA's data sheets, dense, at the clocks that these are for.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { gpuPeak } from '../../dist/model/peak.js';

const peakOf = (name, capability, multiprocessors, gigahertz, precision) =>
  gpuPeak({ name: `NVIDIA ${name}`, capability, multiprocessors, clockHertz: gigahertz * 1e9 }, precision);

for (const [name, capability, multiprocessors, gigahertz, bf16, tf32] of [
  ['A100-SXM4-80GB', '8.0', 108, 1.41, 312, 156],
  ['A10', '8.6', 72, 1.695, 125, 62.5],
  ['GeForce RTX 3090', '8.6', 82, 1.695, 71, 35.6],
  ['L4', '8.9', 58, 2.04, 121, 60],
  ['GeForce RTX 4090', '8.9', 128, 2.52, 165.2, 82.6],
  ['H100 80GB HBM3', '9.0', 132, 1.83, 989, 495],
  ['B200', '10.0', 148, 1.85, 2250, 1125],
  ['GeForce RTX 5090', '12.0', 170, 2.407, 209.5, 104.8],
]) {
  test(`${name} is as its data sheet says`, () => {
    const of = (precision) => peakOf(name, capability, multiprocessors, gigahertz, precision);
    for (const [precision, expected] of Object.entries({ bf16, tf32 }))
      assert.ok(Math.abs(of(precision) / (expected * 1e12) - 1) < 0.01, `${precision}: ${of(precision)}`);
  });
}

test('fp32 is three products of tf32 where those are faster', () => {
  assert.is(peakOf('H100', '9.0', 132, 1.83, 'fp32'), peakOf('H100', '9.0', 132, 1.83, 'tf32') / 3);
  assert.ok(Math.abs(peakOf('GeForce RTX 4090', '8.9', 128, 2.52, 'fp32') / 82.6e12 - 1) < 0.01);
});

test('of a GPU that the table does not have nothing is claimed', () => {
  assert.is(peakOf('GPU', '7.5', 40, 1.5, 'bf16'), undefined);
});

test.run();
