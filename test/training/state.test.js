import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openTrainingState, saveTrainingState } from '../../dist/training/trainingState.js';
import { refused } from '../support/refused.js';
import { readAll, storedForm } from '../support/storedTensors.js';

let scratch;
let directory;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-state-'));
  directory = join(scratch, 'checkpoint');
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

const numbers = (length, seed) => Float32Array.from({ length }, (_, i) => Math.sin(seed + i));
const trainingState = (step) => ({
  tensors: [
    { name: 'encoder.a', shape: [3, 4], data: numbers(12, step) },
    { name: 'encoder.b', shape: [5], data: numbers(5, step + 1) },
  ],
  moments: [
    { name: 'encoder.a', m: numbers(12, step + 2), v: numbers(12, step + 3) },
    { name: 'encoder.b', m: numbers(5, step + 4), v: numbers(5, step + 5) },
  ],
  state: { step, best: 0.1 + 0.2, 9: 'nine', order: [3, 1, 2], nested: { seed: 2 ** 40, none: null, zero: -0 } },
});

const save = (trainingState) => saveTrainingState(directory, storedForm(trainingState));
const load = async () => readAll(await openTrainingState(directory));

test('weights, moments and state come back to the bit', async () => {
  await save(trainingState(7));
  assert.equal(await load(), trainingState(7));
});

test('tensors are copied one after another, each into the same memory', async () => {
  const given = storedForm(trainingState(7));
  const rooms = new Set();
  let reading = 0;
  const watched = (tensor) => ({
    ...tensor,
    read: async (into) => {
      assert.is(++reading, 1, 'one at a time');
      rooms.add(into.buffer);
      const data = await tensor.read();
      into.set(data);
      await new Promise((resolve) => setImmediate(resolve));
      reading--;
      return into.subarray(0, data.length);
    },
  });
  await saveTrainingState(directory, {
    ...given,
    tensors: given.tensors.map(watched),
    moments: given.moments.map(({ name, m, v }) => ({ name, m: watched(m), v: watched(v) })),
  });
  assert.is(rooms.size, 2, 'one for each file');
  assert.equal(await load(), trainingState(7));
});

test('before the first step there are no moments', async () => {
  await save({ ...trainingState(0), moments: [] });
  assert.equal((await load()).moments, []);
});

test('the next training state takes the place of the last', async () => {
  await save(trainingState(1));
  await save(trainingState(2));
  assert.equal(await load(), trainingState(2));
  assert.equal(readdirSync(scratch), ['checkpoint']);
});

test('a missing one is named', () => refused(load(), 'ERR_FILE_NOT_FOUND', /no training state/));

const averaged = (step) => ({ ...trainingState(step), average: trainingState(step + 100).tensors });

test('a mean of weights comes back beside them, and only where there is one', async () => {
  await save(trainingState(7));
  assert.equal(await load(), trainingState(7));
  await save(averaged(8));
  assert.equal(await load(), averaged(8));
});

const files = ['model.safetensors', 'moments.safetensors', 'average.safetensors', 'state.json'];
for (const name of files) {
  test(`${name} missing, cut short or changed anywhere is reported as damage, by name`, async () => {
    await save(averaged(3));
    const path = join(directory, name);
    const whole = readFileSync(path);
    const pattern = new RegExp(`${name.replace('.', '\\.')} is damaged`);
    for (const length of [0, 7, 40, whole.length - 2]) {
      truncateSync(path, length);
      const error = await refused(load(), 'ERR_CHECKPOINT_DAMAGED', pattern);
      assert.is(error.file, path);
      writeFileSync(path, whole);
    }
    // The last byte of state.json is its newline, which means nothing.
    for (let at = 0; at < whole.length - 1; at += 13) {
      const changed = Buffer.from(whole);
      changed[at] ^= 1;
      writeFileSync(path, changed);
      const error = await load().then(
        () => undefined,
        (reason) => reason,
      );
      assert.is(error?.code, 'ERR_CHECKPOINT_DAMAGED', `byte ${at} of ${name}: ${error?.stack}`);
      writeFileSync(path, whole);
    }
    rmSync(path);
    await refused(load(), 'ERR_CHECKPOINT_DAMAGED', pattern);
  });
}

test('files of two training states do not pass as one', async () => {
  await save(trainingState(4));
  const moments = readFileSync(join(directory, 'moments.safetensors'));
  await save(trainingState(5));
  writeFileSync(join(directory, 'moments.safetensors'), moments);
  await refused(load(), 'ERR_CHECKPOINT_DAMAGED', /moments\.safetensors is damaged/);
});

test.run();
