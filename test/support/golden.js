import * as assert from 'uvu/assert';

/** Largest difference over the largest value. */
export function relativeError(actual, expected) {
  assert.is(actual.length, expected.length);
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(actual[i] - expected[i]));
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return difference / largest;
}
