// What the caller does with its arrays while work reads them changes no result, and ends no process.
import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, Encoder } from '../../dist/index.js';
import { findAddon } from '../../dist/model/binding.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('memory of the caller');
const keep = keeper(test);
const run = promisify(execFile);
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-memory-'));
  await writeTinyPredictor(join(dir, 'predictor'));
});
test.after(() => rm(dir, { recursive: true, force: true }));

test('every entry of the addon reads arrays before it returns', async () => {
  const file = fileURLToPath(new URL('../support/callerMemory.js', import.meta.url));
  const { stdout } = await run(process.execPath, ['--expose-gc', file], {
    env: { ...process.env, GOMP_SPINCOUNT: '20000' },
  });
  assert.equal(JSON.parse(stdout), []);
});

const wave = Float32Array.from({ length: 40_000 }, (_, i) => 0.3 * Math.sin(0.05 * i * (1 + (i % 7))));
/** The same samples, and how to take them away. */
const ways = {
  shrunk: () => {
    const buffer = new ArrayBuffer(wave.byteLength, { maxByteLength: wave.byteLength });
    return [new Float32Array(buffer, 0, wave.length), () => buffer.resize(0)];
  },
  transferred: () => {
    const samples = new Float32Array(wave.length);
    return [samples, () => void structuredClone(samples.buffer, { transfer: [samples.buffer] })];
  },
  shared: () => {
    const samples = new Float32Array(new SharedArrayBuffer(wave.byteLength));
    return [samples, () => samples.fill(1e9)];
  },
};

test('predict, predictMany, stream and encode keep samples, bytes and chunks as they were given', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'predictor')));
  const encoder = keep(await Encoder.load(join(fixtures, 'encode', 'large')));
  const windows = { windowSeconds: 1, overlapSeconds: 0.2 };
  const last = async (stream) => {
    let end;
    for await (const chunk of stream) end = chunk;
    return end.soFar ?? end.columns.posteriors;
  };
  const raw = { format: { encoding: 'f32le', sampleRate: 16_000, channels: 1 } };
  const bytesOf = (samples) => new Uint8Array(samples.buffer, 0, samples.buffer.byteLength);
  const calls = {
    predict: async (samples) => (await model.predict(samples, windows)).columns.posteriors,
    resampled: async (samples) => (await model.predict(samples, { ...windows, sampleRate: 24_000 })).columns.posteriors,
    bytes: async (samples) => (await model.predict(bytesOf(samples), { ...windows, ...raw })).columns.posteriors,
    encode: async (samples) => (await encoder.encode(samples)).hidden,
    predictMany: (samples) => last(model.predictMany([samples], windows)),
    stream: (samples) => last(model.stream(samples, windows)),
    chunks: (samples, take) =>
      last(
        model.stream(
          (async function* () {
            yield samples;
            take();
            yield wave;
          })(),
          windows,
        ),
      ),
  };
  for (const [name, call] of Object.entries(calls)) {
    const expected = await call(wave.slice(), () => undefined);
    for (const [way, make] of Object.entries(ways)) {
      const [samples, take] = make();
      samples.set(wave);
      const result = call(samples, take);
      // What reads its input when it comes has asked for it by now.
      if (name === 'predictMany' || name === 'stream') await new Promise(setImmediate);
      if (name !== 'chunks') take();
      assert.equal(await result, expected, `${name}, ${way}`);
    }
  }
});

test('an array without memory is refused, alone among many', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'predictor'), { clusters: false }));
  for (const way of ['shrunk', 'transferred']) {
    const [samples, take] = ways[way]();
    take();
    await refused(model.predict(samples), 'ERR_ARGUMENT', /detached, or has shrunk/);
    const codes = [];
    for await (const { error } of model.predictMany([samples, wave], { onError: 'yield' })) codes.push(error?.code);
    assert.equal(codes, ['ERR_ARGUMENT', undefined]);
  }
  // Lies about its length.
  class Odd extends Float32Array {
    get length() {
      return 1e9;
    }
  }
  const odd = new Odd(wave.length);
  odd.set(wave);
  assert.is((await model.predict(odd)).frames.length, (await model.predict(wave)).frames.length);
});

const create = `
  import { Engine } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
  try {
    const engine = Engine.create(JSON.parse(process.argv[1]));
    const points = Float32Array.from({ length: 4000 }, (_, i) => i % 17);
    const { labels } = await engine.assign(points, Float32Array.of(0, 0, 9, 9), 2);
    process.stdout.write(String(labels.length));
    engine.dispose();
  } catch (error) {
    process.stdout.write(error.code);
  }`;

test('no number of threads that the environment asks for ends the process', async () => {
  const environments = [
    [{ OMP_NUM_THREADS: '1000000' }, {}, '2000'],
    [{ OMP_NUM_THREADS: '99999', OMP_THREAD_LIMIT: '1', KMP_STACKSIZE: 'x' }, {}, '2000'],
    [{ OMP_NUM_THREADS: '-3', OMP_STACKSIZE: 'much' }, { threads: 2 }, '2000'],
    [{ OMP_STACKSIZE: '900000G' }, { threads: 2 }, 'ERR_INTERNAL'],
  ];
  for (const [environment, options, expected] of environments) {
    const args = ['--input-type=module', '--eval', create, JSON.stringify(options)];
    const { stdout } = await run(process.execPath, args, { env: { ...process.env, ...environment } });
    assert.is(stdout, expected, JSON.stringify(environment));
  }
});

test('the addon is hardened: no code on the stack, tables of calls that cannot be written, canaries', () => {
  const { file } = findAddon();
  const read = (...options) => execFileSync('readelf', [...options, '-W', file], { encoding: 'utf8' });
  const segments = read('--segments');
  assert.match(segments, /GNU_STACK .* RW /);
  assert.match(segments, /GNU_RELRO/);
  assert.match(read('--dynamic'), /BIND_NOW|\bNOW\b/);
  const symbols = read('--dyn-syms');
  assert.match(symbols, /__stack_chk_fail/);
  // Nothing but what Node looks up (native/addon/exports.map).
  const exported = [...symbols.matchAll(/ (?:GLOBAL|WEAK) +DEFAULT +\d+ (\S+)/g)].map(([, name]) => name);
  assert.equal(exported.sort(), ['napi_register_module_v1', 'node_api_module_get_api_version_v1']);
});

test.run();
