import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { calibrationScores, expectedCalibrationError, fitTemperature, softmax } from '../dist/evaluate/calibration.js';

const near = (actual, expected, tolerance = 1e-9) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

/** Cross-entropy with one utterance more that has an equal share of every class, written out. */
function loss(logits, truth, temperature) {
  const utterances = logits.length;
  return -logits
    .map((row, i) =>
      softmax(row, temperature)
        .map((p, c) => Math.log(p) * ((c === truth[i] ? utterances : 0) + 1 / row.length))
        .reduce((a, b) => a + b, 0),
    )
    .reduce((a, b) => a + b, 0);
}

const random = (() => {
  let state = 7;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
})();
/** Utterances whose classes are drawn from softmax(logits / temperature). */
function drawn(count, classes, temperature) {
  const logits = Array.from({ length: count }, () => Array.from({ length: classes }, () => 8 * (random() - 0.5)));
  const truth = logits.map((row) => {
    let left = random();
    return softmax(row, temperature).findIndex((probability) => {
      left -= probability;
      return left <= 0;
    });
  });
  return { logits, truth };
}

test('probabilities are those of the logits, divided; large logits do not overflow', () => {
  const [a, b] = softmax([1000, 1000 - Math.log(3) * 2], 2);
  near(a, 0.75);
  near(b, 0.25);
  near(
    softmax(Float32Array.of(1, 2, 3)).reduce((x, y) => x + y),
    1,
    1e-12,
  );
});

test('three of four right gives the closed form', () => {
  const logits = [[2, 0], [2, 0], [2, 0], [2, 0]]; // biome-ignore format: a table
  near(fitTemperature(logits, [0, 0, 0, 1]), 2 / Math.log(3.5 / 1.5));
});

test('no other temperature fits better', () => {
  const { logits, truth } = drawn(60, 4, 3);
  const fitted = fitTemperature(logits, truth);
  for (let temperature = 0.1; temperature < 15; temperature *= 1.02)
    assert.ok(loss(logits, truth, fitted) <= loss(logits, truth, temperature) + 1e-9, `${temperature}`);
});

test('the temperature that utterances were drawn with is found, and calibrates others', () => {
  const { logits, truth } = drawn(4000, 4, 2.5);
  const temperature = fitTemperature(logits, truth);
  assert.ok(Math.abs(temperature - 2.5) < 0.2, `${temperature}`);
  const others = drawn(4000, 4, 2.5);
  const scores = calibrationScores(others.logits, others.truth, temperature);
  assert.is(scores.temperature, temperature);
  assert.ok(scores.ece < 0.03 && scores.eceUncalibrated > 0.15, JSON.stringify(scores));
});

test('a small set whose every utterance is right does not ask for certainty; one that is all wrong is bounded', () => {
  const logits = Array.from({ length: 10 }, () => [3, 0, 0, 0]);
  const sure = softmax(logits[0], fitTemperature(logits, new Array(10).fill(0)))[0];
  near(sure, (10 + 1 / 4) / 11);
  assert.is(Math.round(fitTemperature(logits, new Array(10).fill(1))), 20);
});

test('the error is what was said less what was right, by bins', () => {
  near(expectedCalibrationError([[0.9, 0.1], [0.9, 0.1]], [0, 1]), 0.4); // biome-ignore format: a table
  // Bins of their own: 0.95 said and right (0.05 off), 0.65 said and wrong (0.65 off).
  near(expectedCalibrationError([[0.95, 0.05], [0.35, 0.65]], [0, 0]), 0.35); // biome-ignore format: a table
  near(expectedCalibrationError([[1, 0]], [0]), 0);
});

test('nothing to fit on or to score is an error', () => {
  assert.throws(
    () => fitTemperature([], []),
    (error) => error.code === 'ERR_CORPUS' && /validation/.test(error.message),
  );
  assert.throws(
    () => expectedCalibrationError([], []),
    (error) => error.code === 'ERR_CORPUS',
  );
});

test.run();
