import * as assert from 'node:assert/strict';
import { suite } from 'uvu';
import { waveformStatistics } from '../../dist/audio/normalize.js';
import { resample } from '../../dist/audio/resample.js';
import { loadAudio } from '../../dist/index.js';

const fixtures = new URL('../fixtures/audio/', import.meta.url).pathname;
const test = suite('audio: resampling');

function sine(hertz, rate, seconds) {
  return Float32Array.from({ length: Math.round(rate * seconds) }, (_, i) =>
    Math.sin((2 * Math.PI * hertz * i) / rate),
  );
}

/** The largest difference, away from the ends, where the filter meets silence. */
function difference(a, b, margin) {
  let largest = 0;
  for (let i = margin; i < a.length - margin; i++) largest = Math.max(largest, Math.abs(a[i] - b[i]));
  return largest;
}

test('what is in the band stays, in place and in phase, from any rate', async () => {
  for (const rate of [8000, 11025, 22050, 44100, 48000, 96000]) {
    const hertz = Math.min(3000, rate * 0.4);
    const output = await resample(sine(hertz, rate, 1), rate);
    assert.equal(output.length, 16000, `${rate}`);
    assert.ok(difference(output, sine(hertz, 16000, 1), 200) < 2e-5, `${rate}`);
  }
});

test('what is above the band is gone, not folded back', async () => {
  const output = await resample(sine(10000, 44100, 1), 44100);
  assert.ok(difference(output, new Float32Array(16000), 200) < 1e-5);
});

test('long audio is continuous: no seam, no lost end', async () => {
  const seconds = 30;
  const output = await resample(sine(1000, 44100, seconds), 44100);
  assert.equal(output.length, 16000 * seconds);
  assert.ok(difference(output, sine(1000, 16000, seconds), 200) < 2e-5);
});

test('the length is the ceiling of the exact one, down to one sample', async () => {
  assert.equal((await resample(new Float32Array(441).fill(0.5), 44100)).length, 160);
  assert.equal((await resample(new Float32Array(442).fill(0.5), 44100)).length, 161);
  assert.equal((await resample(new Float32Array(1).fill(0.5), 48000)).length, 1);
  assert.equal((await resample(new Float32Array(0), 48000)).length, 0);
});

test('the same samples give the same bits, whatever came before and beside', async () => {
  const input = sine(500, 48000, 0.5);
  const first = await resample(input, 48000);
  const others = await Promise.all([
    resample(sine(70, 48000, 0.3), 48000),
    resample(input, 48000),
    resample(sine(90, 22050, 0.3), 22050),
    resample(input, 48000),
  ]);
  assert.deepEqual(others[1], first);
  assert.deepEqual(others[3], first);
  for (const rate of [8000, 11025, 22050, 32000, 44100]) await resample(sine(70, rate, 0.1), rate);
  assert.deepEqual(await resample(input, 48000), first);
});

test('rates that cannot be are refused', async () => {
  for (const rate of [0, 999, 400000, Number.NaN]) {
    await assert.rejects(resample(new Float32Array(10), rate), { code: 'ERR_AUDIO_FORMAT' });
  }
});

test('a stereo file at 48 kHz loads as 16 kHz mono', async () => {
  // sox: 440 Hz left, 1000 Hz right, at -6 dB.
  const samples = await loadAudio(`${fixtures}stereo48k.wav`);
  const gain = 10 ** (-6 / 20) / 2;
  const [low, high] = [sine(440, 16000, 0.25), sine(1000, 16000, 0.25)];
  assert.ok(
    difference(
      samples,
      low.map((value, i) => gain * (value + high[i])),
      200,
    ) < 5e-5,
  );
  assert.deepEqual(await loadAudio(`${fixtures}stereo48k.flac`), samples);
});

test('a normalised waveform has zero mean and unit variance, and silence stays finite', async () => {
  const input = sine(50, 16000, 0.1).map((value) => 0.01 * value + 0.3);
  const normalized = async (samples) => {
    const { mean, scale } = await waveformStatistics(samples);
    return samples.map((value) => (value - mean) * scale);
  };
  const output = await normalized(input);
  const mean = output.reduce((sum, value) => sum + value, 0) / output.length;
  const variance = output.reduce((sum, value) => sum + (value - mean) ** 2, 0) / output.length;
  assert.ok(Math.abs(mean) < 1e-6);
  // The variance is 5e-5 before, so 1e-7 beside it shows.
  assert.ok(Math.abs(variance - 5e-5 / (5e-5 + 1e-7)) < 1e-4);
  assert.deepEqual(await normalized(new Float32Array(10).fill(0.5)), new Float32Array(10));
});

test('the statistics of a long waveform are those of all of its samples at once, to the bit', async () => {
  const samples = new Float32Array(600_001).map((_, i) => 0.1 + Math.sin(i / 7) * (i % 11));
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length;
  const variance = samples.reduce((sum, value) => sum + (value - mean) * (value - mean), 0) / samples.length;
  assert.deepEqual(await waveformStatistics(samples, 0), { mean, scale: 1 / Math.sqrt(variance) });
});

test.run();
