import * as assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import { alignMfcc } from '../../dist/audio/mfcc.js';
import { loadAudio, mfcc } from '../../dist/index.js';

const fixtures = new URL('../fixtures/audio/', import.meta.url).pathname;
const test = suite('mfcc');

/** A little-endian float32 .npy of version 1. */
function readGolden(path) {
  const bytes = readFileSync(path);
  const start = 10 + bytes.readUInt16LE(8);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length));
}

test('39 features a frame agree with the float64 reference (scripts/oracle/mfcc.py)', async () => {
  const { features, frames } = mfcc(await loadAudio(`${fixtures}voice.wav`));
  const golden = readGolden(`${fixtures}voice.mfcc.npy`);
  assert.equal(frames, Math.floor((19200 - 400) / 160) + 1);
  assert.equal(features.length, frames * 39);
  assert.equal(golden.length, features.length);
  let largest = 0;
  for (let i = 0; i < golden.length; i++) largest = Math.max(largest, Math.abs(golden[i] - features[i]));
  // Values reach 80; float32 itself is good to 4e-6 there.
  assert.ok(largest < 2e-5, `largest difference ${largest}`);
});

test('deltas of a steady sound vanish, of a sound that grows steadily they are constant', () => {
  // A pulse a hop: every frame is the same, and every band is well above the floor.
  const steady = Float32Array.from({ length: 16000 }, (_, i) => (i % 160 === 80 ? 0.3 : 0));
  const { features, frames } = mfcc(steady);
  for (let t = 0; t < frames; t++) {
    for (let c = 13; c < 39; c++) assert.ok(Math.abs(features[t * 39 + c]) < 1e-4);
  }
  // e^(t/16000) makes each frame e^0.01 times the one before: 0.02 more in each log power, √23 · 0.02 in C0.
  const growing = mfcc(steady.map((value, i) => value * Math.exp(i / 16000)));
  for (let t = 5; t < frames - 5; t++) {
    assert.ok(Math.abs(growing.features[t * 39 + 13] - Math.sqrt(23) * 0.02) < 1e-3);
    assert.ok(Math.abs(growing.features[t * 39 + 26]) < 1e-3);
  }
});

test("at HuBERT's frames: every second row, exactly T, whatever T", async () => {
  const samples = await loadAudio(`${fixtures}voice.wav`);
  const { features, frames } = mfcc(samples);
  const T = Math.floor((samples.length - 400) / 320) + 1;
  const aligned = alignMfcc(mfcc(samples), T);
  assert.equal(aligned.length, T * 39);
  for (const t of [0, 1, 30, T - 1]) {
    assert.deepEqual(aligned.slice(t * 39, (t + 1) * 39), features.slice(2 * t * 39, (2 * t + 1) * 39));
  }
  const longer = alignMfcc({ features, frames }, T + 3);
  assert.deepEqual(longer.slice((T + 2) * 39), features.slice((frames - 1) * 39));
  assert.equal(alignMfcc(mfcc(samples), 3).length, 3 * 39);
});

test('too short is no frames, and an error where frames are wanted', () => {
  assert.deepEqual(mfcc(new Float32Array(399)), { features: new Float32Array(0), frames: 0 });
  assert.equal(mfcc(new Float32Array(400)).frames, 1);
  assert.throws(() => alignMfcc(mfcc(new Float32Array(399)), 1), { code: 'ERR_AUDIO_SHORT' });
});

test('digital silence is finite', () => {
  assert.ok(mfcc(new Float32Array(16000)).features.every(Number.isFinite));
});

test.run();
