// Windows of an utterance, pooled each by itself, against pooling over all of its frames by plain loops in double.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UtteranceSoFar } from '../../dist/predict/merge.js';
import { generator } from '../support/syntheticRun.js';

const test = suite('merging of windows');
const width = 6;
const classes = 3;

/** Pooled frames `[T][width]` as native/model pools them: `pooled`, `weights`, `scoreLogSums`. */
function pool(frames, pooling, score) {
  const scores = frames.map((frame) => score(frame));
  const total = scores.reduce((sum, value) => sum + Math.exp(value), 0);
  const weights = scores.map((value) => Math.exp(value) / total);
  const column = (c, reduce, first) => frames.reduce((value, frame, t) => reduce(value, frame[c], weights[t]), first);
  const over = (reduce, first) => Array.from({ length: width }, (_, c) => column(c, reduce, first));
  const scoreLogSums = Float32Array.of(Math.log(total));
  if (pooling === 'sum') return { pooled: over((sum, x) => sum + x, 0), scoreLogSums };
  if (pooling === 'max') return { pooled: over((largest, x) => Math.max(largest, x), -Infinity), scoreLogSums };
  const means = over((sum, x, weight) => sum + weight * x, 0);
  if (!pooling.endsWith('stats')) return { pooled: means, scoreLogSums };
  const deviations = means.map((mean, c) => {
    const variance = column(c, (sum, x, weight) => sum + weight * (x - mean) ** 2, 0);
    return Math.sqrt(pooling === 'stats' ? variance + 1e-5 : Math.max(variance, 1e-5));
  });
  return { pooled: [...means, ...deviations], scoreLogSums };
}

const random = generator(11);
const tensor = (name, ...shape) => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 2 * random() - 1);
  return { name, shape, data };
};

/** A head after pooling of so many numbers, and its outputs by plain loops. */
function headOf(pooling, inputs, task) {
  const dense = [
    { width: 5, norm: true, activation: 'relu' },
    { width: 4, activation: 'tanh' },
    { width: 4, activation: 'none' },
  ];
  const tensors = [
    ...[tensor('dense.0.weight', 5, inputs), tensor('dense.0.bias', 5)],
    ...[tensor('dense.0.norm.weight', 5), tensor('dense.0.norm.bias', 5)],
    ...[tensor('dense.1.weight', 4, 5), tensor('dense.1.bias', 4)],
    ...[tensor('dense.2.weight', 4, 4), tensor('dense.2.bias', 4)],
    tensor('classifier.weight', classes, 4),
  ];
  const of = (name) => tensors.find((one) => one.name === name)?.data;
  const linear = (name, x) =>
    Array.from({ length: of(`${name}.weight`).length / x.length }, (_, row) =>
      x.reduce(
        (sum, value, c) => sum + of(`${name}.weight`)[row * x.length + c] * value,
        of(`${name}.bias`)?.[row] ?? 0,
      ),
    );
  const normed = (x) => {
    const mean = x.reduce((a, b) => a + b) / x.length;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
    const [scale, shift] = [of('dense.0.norm.weight'), of('dense.0.norm.bias')];
    return x.map((value, c) => ((value - mean) / Math.sqrt(variance + 1e-5)) * scale[c] + shift[c]);
  };
  const outputs = (pooled) => {
    const first = normed(linear('dense.0', pooled)).map((value) => Math.max(value, 0));
    return linear('classifier', linear('dense.2', linear('dense.1', first).map(Math.tanh)));
  };
  const labels = ['arousal', 'dominance', 'valence'];
  const layers = { dense, bias: false };
  return { head: { kind: 'classifier', labels, pooling, layers, tensors, ...(task && { task }) }, outputs };
}

for (const pooling of ['mean', 'sum', 'max', 'attention', 'attention-linear', 'stats', 'attentive-stats']) {
  for (const task of [undefined, 'regression']) {
    test(`${pooling} of windows, dense layers and output are those of all frames: ${task ?? 'classification'}`, () => {
      const frames = Array.from({ length: 40 }, (_, t) =>
        Array.from({ length: width }, (_, c) => Math.sin(t * (c + 1)) + 3 * random() + t / 20),
      );
      const scored = !['mean', 'sum', 'max'].includes(pooling);
      const score = (frame) => (scored ? Math.tanh(frame[0] - frame[1]) : 0);
      const { head, outputs } = headOf(pooling, pooling.endsWith('stats') ? 2 * width : width, task);
      const soFar = new UtteranceSoFar(head);
      let first = 0;
      for (const end of [1, 9, 16, 40]) {
        const { pooled, scoreLogSums } = pool(frames.slice(first, end), pooling, score);
        soFar.add({ pooled: Float32Array.from(pooled), scoreLogSums });
        first = end;
      }
      const expected = outputs(pool(frames, pooling, score).pooled);
      for (const [k, found] of soFar.logits().entries())
        assert.ok(Math.abs(found - expected[k]) < 1e-5, `output ${k}: ${found} is not ${expected[k]}`);
    });
  }
}

test.run();
