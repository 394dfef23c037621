import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { maskSpans, spanCount } from '../../dist/batch/masks.js';
import { PhiloxStream, sites } from '../../dist/random/philox.js';

const cases = JSON.parse(readFileSync(new URL('../fixtures/masks.json', import.meta.url), 'utf8'));

/** Masked spans as [start, end). */
function runs(mask) {
  const found = [];
  for (let i = 0; i < mask.length; i++) {
    if (mask[i] && !mask[i - 1]) found.push([i, i]);
    if (mask[i]) found.at(-1)[1] = i + 1;
  }
  return found;
}

for (const { seed, step, frames, masks, ...settings } of cases) {
  test(`as transformers: probability ${settings.probability}, frames ${frames}, step ${step}`, () => {
    const random = new PhiloxStream(seed, step, sites.mask);
    const rounding = random.uniform();
    for (const [index, count] of frames.entries()) {
      const mask = new Uint8Array(count);
      const marked = maskSpans(mask, settings, rounding, random);
      assert.equal(runs(mask), masks[index]);
      assert.is(
        marked,
        mask.reduce((sum, value) => sum + value, 0),
      );
    }
  });
}

const method = { probability: 0.8, length: 10, minimumSpans: 2 };

test('the number of spans is right on average', () => {
  let spans = 0;
  for (let step = 0; step < 1000; step++) spans += spanCount(123, method, step / 1000);
  assert.ok(Math.abs(spans / 1000 - (0.8 * 123) / 10) < 0.01, String(spans / 1000));
});

test('about 55 % of frames end up masked', () => {
  let masked = 0;
  for (let step = 0; step < 200; step++) {
    const random = new PhiloxStream(1, step, sites.mask);
    masked += maskSpans(new Uint8Array(500), method, random.uniform(), random);
  }
  const share = masked / (200 * 500);
  assert.ok(share > 0.53 && share < 0.58, String(share));
});

test('an utterance shorter than a span is not masked, one of its length whole', () => {
  const always = { uniform: () => 0.99, integer: () => 0 };
  for (const frames of [0, 1, 9]) assert.is(maskSpans(new Uint8Array(frames), method, 0.99, always), 0);
  assert.is(maskSpans(new Uint8Array(10), method, 0.99, always), 10);
});

test('the last position can be drawn, and nothing beyond', () => {
  const mask = new Uint8Array(30);
  maskSpans(mask, { probability: 0, length: 10, minimumSpans: 1 }, 0, { uniform: () => 0, integer: (n) => n - 1 });
  assert.equal(runs(mask), [[20, 30]]);
});

test.run();
