// Whatever is given as audio, the answer is a result or an error of ours, and of many inputs only the one is concerned.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmoframeError, EmotionModel, Encoder } from '../../dist/index.js';
import { describe } from '../../dist/issues.js';
import { quoted, reasonOf } from '../../dist/quote.js';
import { writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('hostile inputs');
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-hostile-'));
const sound = new Float32Array(8000).map((_, i) => 0.1 * Math.sin(i / 9));
let model;
let encoder;

test.before(async () => {
  await writeTinyPredictor(scratch, { clusters: false });
  model = await EmotionModel.load(scratch, { threads: 1 });
  encoder = await Encoder.load(scratch, { threads: 1 });
});
test.after(async () => {
  await model.dispose();
  await encoder.dispose();
  rmSync(scratch, { recursive: true, force: true });
});

const fails = () => {
  throw new Error('no');
};
const traps = Object.fromEntries(
  Object.getOwnPropertyNames(Reflect).flatMap((name) => (typeof Reflect[name] === 'function' ? [[name, fails]] : [])),
);
const cyclic = {};
cyclic.self = cyclic;
function revoked(target) {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

/** Values that are no audio, none of which can be made an object key, so each has a name. */
const values = {
  null: null,
  undefined,
  number: 7,
  bigint: 10n,
  boolean: true,
  symbol: Symbol('s'),
  function: fails,
  'empty object': {},
  'no prototype': Object.create(null),
  cyclic,
  list: [1, 2],
  'revoked proxy': revoked({}),
  'revoked list': revoked([]),
  'proxy that refuses': new Proxy({}, traps),
  'proxy of samples': new Proxy(new Float32Array(8000), {}),
  'proxy of samples that refuses': new Proxy(new Float32Array(8000), traps),
  'path that throws': {
    get path() {
      return fails();
    },
  },
  'path that is a number': { path: 7 },
  'bound that is text': { path: 'a.wav', startSeconds: '1' },
  'promise that fails': (() => {
    const promise = Promise.reject(new Error('no'));
    promise.catch(() => undefined);
    return promise;
  })(),
  'then that throws': Object.defineProperty({}, 'then', { get: fails }),
  'words of 16-bit samples': new Int16Array(8000),
};

/** Streams that turn out to be none. */
const streams = {
  'iterator that throws': { [Symbol.asyncIterator]: fails },
  'iterator that is null': { [Symbol.asyncIterator]: () => null },
  'next that throws': { [Symbol.asyncIterator]: () => ({ next: fails }) },
  'next of null': { [Symbol.asyncIterator]: () => ({ next: () => null }) },
  'return that throws': { [Symbol.asyncIterator]: () => ({ next: () => ({ value: 7 }), return: fails }) },
  'chunks of symbols': { [Symbol.asyncIterator]: () => ({ next: async () => ({ value: Symbol('c') }) }) },
  'chunk that refuses': {
    [Symbol.asyncIterator]: () => ({ next: async () => ({ value: values['proxy of samples'] }) }),
  },
  'chunks that change': (async function* () {
    yield new Float32Array(10);
    yield Object.create(null);
  })(),
  'throws a symbol': (async function* () {
    yield new Float32Array(10);
    throw Symbol('t');
  })(),
  'throws what refuses': (async function* () {
    yield new Float32Array(10);
    throw new Proxy({}, { ...traps, getPrototypeOf: fails });
  })(),
  'throws without prototype': (async function* () {
    yield new Float32Array(10);
    throw Object.create(null);
  })(),
};

async function refused(call, name, code = /^ERR_ARGUMENT$/) {
  const error = await call().then(
    () => assert.unreachable(`${name} was taken`),
    (thrown) => thrown,
  );
  assert.ok(error instanceof EmoframeError, `${name}: ${reasonOf(error)}`);
  assert.match(error.code, code, `${name}: ${error.message}`);
  assert.ok(error.message.length > 20 && error.message.length < 2500, name);
}

async function drained(iteration) {
  for await (const _ of iteration);
}

test('what is no audio is ERR_ARGUMENT in every call that takes audio', async () => {
  for (const [name, value] of Object.entries(values)) {
    await refused(() => model.predict(value), name);
    await refused(() => encoder.encode(value), name);
    await refused(() => drained(model.stream(value)), name);
    await refused(() => drained(model.predictMany([value])), name);
  }
  const before = model.predict(sound);
  for (const name of Object.keys(streams)) {
    await refused(() => model.predict(streams[name]), name, /^ERR_(ARGUMENT|AUDIO)$/);
  }
  assert.is((await before).label.length > 0, true);
});

test('one such input of many is an error of its own, in its place', async () => {
  const inputs = [];
  for (const value of Object.values(values)) inputs.push(sound, value);
  inputs.push({ id: 'named', audio: null }, { id: 7, audio: sound }, { id: Symbol('i'), audio: sound }, sound);
  const given = [];
  for await (const result of model.predictMany(inputs, { onError: 'yield' })) given.push(result);
  assert.is(given.length, inputs.length);
  for (const [index, result] of given.entries()) {
    if (inputs[index] === sound) assert.is(result.label.length > 0 && result.id, String(index));
    else assert.is(result.error.code, 'ERR_ARGUMENT', String(index));
  }
  assert.is(given.at(-4).id, 'named');
  assert.match(given.at(-4).error.message, /Input \d+, counted from 0, .* received null/);
  assert.is(given.at(-3).id, String(inputs.length - 3));

  const simple = [null, undefined, 7, Object.create(null), sound];
  async function* later() {
    yield* simple;
  }
  const codes = [];
  for await (const result of model.predictMany(later(), { onError: 'yield' })) codes.push(result.error?.code);
  assert.equal(codes, [...simple.slice(1).map(() => 'ERR_ARGUMENT'), undefined]);
});

test('what holds no inputs, or options that cannot be read, are refused', async () => {
  for (const name of ['null', 'number', 'revoked proxy', 'proxy that refuses', 'empty object']) {
    await refused(() => drained(model.predictMany(values[name])), name);
  }
  const options = { ...values };
  for (const name of ['undefined', 'empty object', 'no prototype', 'then that throws', 'promise that fails'])
    delete options[name];
  for (const [name, value] of Object.entries(options)) await refused(() => model.predict(sound, value), name);
});

test('any value can be shown in a message, in little time', () => {
  const huge = Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [`k${i}`, i]));
  let deep = [];
  for (let i = 0; i < 100_000; i++) deep = [deep];
  let wide = [1];
  for (let i = 0; i < 12; i++) wide = Array(100).fill(wide);
  const all = [
    ...Object.values(values),
    huge,
    deep,
    wide,
    Array(1e6).fill(Symbol('x')),
    'x'.repeat(1e7),
    new Float32Array(1e6),
  ];
  const start = performance.now();
  for (const value of all) {
    for (const show of [quoted, describe, reasonOf]) {
      const text = show(value);
      assert.type(text, 'string');
    }
    assert.ok(quoted(value).length <= 121);
  }
  assert.ok(performance.now() - start < 5000);
  assert.is(describe(10n), '10 of type bigint');
  assert.is(describe(Symbol('s')), 'Symbol(s) of type symbol');
  assert.is(describe({ a: [1, 'b'] }), '{"a":[1,"b"]} of type object');
});

test.run();
