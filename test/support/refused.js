import * as assert from 'uvu/assert';

/** Expects a promise, or an async function's, to be refused, and gives the error. */
export async function refusal(work, expected = 'a refusal') {
  const error = await (typeof work === 'function' ? work() : work).then(
    () => undefined,
    (reason) => reason,
  );
  assert.ok(error, `nothing was refused; expected ${expected}`);
  return error;
}

/** The same with a code and a message. */
export async function refused(work, code, pattern) {
  const error = await refusal(work, code);
  assert.is(error.code, code, error.stack);
  assert.match(error.message, pattern);
  return error;
}
