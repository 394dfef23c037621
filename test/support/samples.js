import * as assert from 'uvu/assert';

/** Expects the same samples, to the bit. A difference is reported by its place: printing it whole would take minutes. */
export function sameSamples(found, expected, message = '') {
  assert.is(found.length, expected.length, `${message}: ${found.length} samples, not ${expected.length}`);
  const at = found.findIndex((value, i) => !Object.is(value, expected[i]));
  assert.is(at, -1, `${message}: sample ${at} is ${found[at]}, not ${expected[at]}`);
}
