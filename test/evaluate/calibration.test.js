import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { calibrationScores, expectedCalibrationError, fitCalibration } from '../../dist/evaluate/calibration.js';
import { fusedLogits, probabilitiesOf } from '../../dist/evaluate/fusion.js';

const near = (actual, expected, tolerance = 1e-9) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

/** Cross-entropy with one utterance more that has an equal share of every class, written out. */
function loss(rows, truth, weights) {
  let sum = 0;
  for (const [i, row] of rows.entries()) {
    const probabilities = probabilitiesOf(fusedLogits(row, weights));
    for (const [c, p] of probabilities.entries())
      sum -= Math.log(p) * ((c === truth[i] ? rows.length : 0) + 1 / probabilities.length);
  }
  return sum;
}

const random = (() => {
  let state = 7;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
})();
const logitsOf = (classes) => Float32Array.from({ length: classes }, () => 8 * (random() - 0.5));
/** Utterances whose classes are drawn from what their logits say under some weights. */
function drawn(count, classes, weights) {
  const rows = Array.from({ length: count }, () =>
    Object.fromEntries(Object.keys(weights).map((kind) => [kind, logitsOf(classes)])),
  );
  const truth = rows.map((row) => {
    let left = random();
    return probabilitiesOf(fusedLogits(row, weights)).findIndex((probability) => {
      left -= probability;
      return left <= 0;
    });
  });
  return { rows, truth };
}

test('logits are added by their weights; one that is not given is 1, and what is absent does not speak', () => {
  const both = { classifier: Float32Array.of(2, 0), alignment: Float32Array.of(0, 1) };
  assert.equal([...fusedLogits(both, { classifier: 0.5, alignment: 3 })], [1, 3]);
  assert.equal([...fusedLogits(both, { classifier: 0.5 })], [1, 1]);
  assert.equal([...fusedLogits(both)], [2, 1]);
  assert.equal([...fusedLogits({ alignment: both.alignment }, { classifier: 7, alignment: 2 })], [0, 2]);
  assert.equal([...fusedLogits({ classifier: both.classifier }, { alignment: 7 })], [2, 0]);
  assert.equal([...both.classifier], [2, 0], 'what was given is left as it is');
});

test('probabilities are those of the logits; large logits do not overflow', () => {
  const [a, b] = probabilitiesOf([1000, 1000 - Math.log(3)]);
  near(a, 0.75);
  near(b, 0.25);
  near(
    probabilitiesOf(Float32Array.of(1, 2, 3)).reduce((x, y) => x + y),
    1,
    1e-12,
  );
});

test('three of four right gives the closed form, of whichever kind the logits are', () => {
  for (const kind of ['classifier', 'alignment']) {
    const row = { [kind]: Float32Array.of(2, 0) };
    const fitted = fitCalibration([row, row, row, row], [0, 0, 0, 1]);
    assert.equal(Object.keys(fitted), [kind]);
    near(fitted[kind], Math.log(3.5 / 1.5) / 2, 1e-6);
  }
});

test('no other weight fits better', () => {
  const { rows, truth } = drawn(60, 4, { classifier: 1 / 3 });
  const fitted = fitCalibration(rows, truth);
  for (let classifier = 0.02; classifier < 15; classifier *= 1.02)
    assert.ok(loss(rows, truth, fitted) <= loss(rows, truth, { classifier }) + 1e-9, `${classifier}`);
});

test('two kinds have one weight, and no other fits better', () => {
  const { rows, truth } = drawn(80, 4, { classifier: 0.5, alignment: 0.5 });
  const fitted = fitCalibration(rows, truth);
  assert.is(fitted.classifier, fitted.alignment);
  for (let weight = 0.02; weight < 15; weight *= 1.02) {
    const other = { classifier: weight, alignment: weight };
    assert.ok(loss(rows, truth, fitted) <= loss(rows, truth, other) + 1e-9, `${weight}`);
  }
});

test('the weight that utterances were drawn with is found, and calibrates others', () => {
  for (const weights of [{ alignment: 0.3 }, { classifier: 0.3, alignment: 0.3 }]) {
    const { rows, truth } = drawn(1500, 4, weights);
    const fitted = fitCalibration(rows, truth);
    assert.equal(Object.keys(fitted), Object.keys(weights));
    for (const kind of Object.keys(weights)) near(fitted[kind], weights[kind], 0.04);
    const others = drawn(1500, 4, weights);
    const scores = calibrationScores(others.rows, others.truth, fitted);
    assert.equal(scores.weights, fitted);
    assert.ok(scores.ece < 0.04 && scores.eceUncalibrated > 0.15, JSON.stringify(scores));
  }
});

test('a small set whose every utterance is right does not ask for certainty; one that is all wrong has no weight', () => {
  const rows = Array.from({ length: 10 }, () => ({ classifier: Float32Array.of(3, 0, 0, 0) }));
  const right = fitCalibration(rows, new Array(10).fill(0));
  near(probabilitiesOf(fusedLogits(rows[0], right))[0], (10 + 1 / 4) / 11, 1e-6);
  assert.is(Math.round(100 * fitCalibration(rows, new Array(10).fill(1)).classifier), 0);
  // The least that can be said for sure is bounded.
  const faint = Array.from({ length: 10 }, () => ({ classifier: Float32Array.of(1e-3, 0) }));
  near(fitCalibration(faint, new Array(10).fill(0)).classifier, 20, 1e-6);
});

test('the error is what was said less what was right, by bins', () => {
  near(expectedCalibrationError([[0.9, 0.1], [0.9, 0.1]], [0, 1]), 0.4); // biome-ignore format: a table
  // Bins of their own: 0.95 said and right (0.05 off), 0.65 said and wrong (0.65 off).
  near(expectedCalibrationError([[0.95, 0.05], [0.35, 0.65]], [0, 0]), 0.35); // biome-ignore format: a table
  near(expectedCalibrationError([[1, 0]], [0]), 0);
});

test('nothing to fit on or to score is an error', () => {
  assert.throws(
    () => fitCalibration([], []),
    (error) => error.code === 'ERR_CORPUS' && /validation/.test(error.message),
  );
  assert.throws(
    () => expectedCalibrationError([], []),
    (error) => error.code === 'ERR_CORPUS',
  );
});

test.run();
