// Every entry of the addon that reads arrays of the caller, each with an array whose memory is taken away while the work waits behind
// other work. In a process of its own, as what is wrong here is a crash: node --expose-gc callerMemory.js prints what differs.
import { createRequire } from 'node:module';
import { isDeepStrictEqual } from 'node:util';
import { parseHubertConfig } from '../../dist/index.js';
import { tinyConfig } from './tinyCorpus.js';

const load = createRequire(import.meta.url)('node-gyp-build');
const binding = load(new URL('../..', import.meta.url).pathname);

/** An array with such values, and how its memory is taken away. */
const ways = {
  shrunk: (Type, values) => {
    const bytes = values.length * Type.BYTES_PER_ELEMENT;
    const buffer = new ArrayBuffer(bytes, { maxByteLength: 2 * bytes });
    return [new Type(buffer), () => buffer.resize(0)];
  },
  transferred: (Type, values) => {
    const array = new Type(values.length);
    return [array, () => void structuredClone(array.buffer, { transfer: [array.buffer] })];
  },
  grown: (Type, values) => {
    const bytes = values.length * Type.BYTES_PER_ELEMENT;
    const buffer = new SharedArrayBuffer(bytes, { maxByteLength: 4 * bytes });
    const scribble = (array) => {
      buffer.grow(4 * bytes);
      array.fill(1e9);
    };
    return [new Type(buffer), scribble];
  },
  written: (Type, values) => {
    class Ours extends Type {}
    return [new Ours(values.length), (array) => array.fill(1e9)];
  },
  collected: (Type, values) => [new Type(values.length), () => globalThis.gc()],
};

const { shape } = parseHubertConfig(tinyConfig.model, 'the tiny config');
const engine = binding.createEngine({ device: 'cpu', threads: 1, memoryLimit: 0, graphs: true });
const common = { shape, precision: 'fp32', maskedPrediction: { clusters: 5, dimension: 8, temperature: 0.1 } };
const classifier = { classes: 3, pooling: 'attention' };
const model = await engine.createModel({ ...common, classifier });
const regression = await engine.createModel({
  shape,
  precision: 'fp32',
  classifier: { ...classifier, task: 'regression' },
});

const wave = (count, scale = 0.3) =>
  Array.from({ length: count }, (_, i) => scale * Math.sin(0.05 * i * (1 + (i % 7))));
const named = (of) =>
  of.tensors().map(({ name, shape }) => ({
    name,
    values: wave(
      shape.reduce((a, b) => a * b, 1),
      0.1,
    ),
  }));
for (const each of [model, regression])
  await each.importTensors(named(each).map(({ name, values }) => ({ name, data: Float32Array.from(values) })));

const length = 9600;
/** `F`, `I`, `B` and `D` make an array of the kind that is tested. */
const batchOf = ({ F, I, D }) => ({
  samples: [F(wave(length)), F(wave(length, 0.2))],
  starts: I([0, length]),
  lengths: I([length, length]),
  normalize: true,
  waveform: D([0, 1, 0, 2]),
  frameStarts: I([0, 3]),
  frameCounts: I([20, 25]),
});
const step = (of, more) => ({
  denominator: 1,
  featurePenalty: 0,
  featureGradientScale: 1,
  seed: 1,
  step: 0,
  dropout: false,
  labels: of.I([]),
  ...more,
});
const kmeans = { dimension: 4, clusters: 3, restarts: 2, algorithm: 'lloyd', batchSize: 10, maxIterations: 9 };
const live = () => ({
  cancel: new Int32Array(new SharedArrayBuffer(4)),
  progress: new Float64Array(new SharedArrayBuffer(16)),
});
const targets = [1, 0, 1, 0, 1, 0];

const entries = {
  encode: (of) => model.encode(batchOf(of), 'output'),
  classify: (of) => model.classify(batchOf(of), { starts: of.I([1, 1]), counts: of.I([5, 6]) }),
  windowMoments: (of) => {
    const { frameStarts, frameCounts, ...batch } = batchOf(of);
    return model.windowMoments(batch);
  },
  moments: (of) => {
    const kernel = shape.convKernel[0];
    const windowMean = of.F(wave(2 * kernel, 0.01));
    return model.encode({ ...batchOf(of), windowMean, windowCovariance: of.F(wave(2 * kernel * kernel, 0.01)) }, 1);
  },
  storeFeatures: async (of) => {
    const { frameStarts, frameCounts, ...batch } = batchOf(of);
    await model.storeFeatures(['a', 'b'], batch);
    return model.encode({ features: ['a', 'b'] }, 'output');
  },
  importTensors: async (of) => {
    await model.importTensors(named(model).map(({ name, values }) => ({ name, data: of.F(values) })));
    return model.encode(batchOf(plain), 'output');
  },
  importMoments: async (of) => {
    const all = named(model).map(({ name, values }) => ({ name, m: of.F(values), v: of.F(values.map(Math.abs)) }));
    await model.importMoments(all);
    const into = new Float32Array(all[0].m.length || named(model)[0].values.length);
    return (await model.readTensor(all[0].name, 'm', into)) ?? into;
  },
  classification: (of) => model.trainStep(batchOf(of), step(of, { objective: 'classification', labels: of.I([0, 2]) })),
  maskedPrediction: (of) =>
    model.trainStep(
      batchOf(of),
      step(of, {
        objective: 'masked-prediction',
        labels: of.I(Array.from({ length: 45 }, (_, i) => i % 5)),
        mask: of.B(Array.from({ length: 45 }, (_, i) => i % 2)),
      }),
    ),
  regression: (of) =>
    regression.trainStep(
      batchOf(of),
      step(of, {
        objective: 'regression',
        targets: of.F(targets),
        others: { outputs: of.F(wave(6)), targets: of.F(targets) },
      }),
    ),
  trainOutputs: (of) => regression.trainOutputs(batchOf(of), step(of, { objective: 'regression' })),
  kmeans: (of) => engine.kmeans({ ...kmeans, tolerance: 0, seed: 1, points: of.F(wave(4000)), ...live() }),
  assign: (of) => engine.assign(of.F(wave(4000)), of.F(wave(12)), 4),
  align: (of) =>
    engine.align(of.F(wave(300)), of.I([0, 60, 100]), {
      neutral: 0,
      scale: 0.1,
      switchingCost: 2,
      bias: of.F([0, 0, 0]),
    }),
};

const arrays = (make) => {
  const of = (Type) => (values) => make(Type, values);
  return { F: of(Float32Array), I: of(Int32Array), B: of(Uint8Array), D: of(Float64Array) };
};
const plain = arrays((Type, values) => Type.from(values));

const failures = [];
const check = (good, what) => good || failures.push(what);
for (const [name, call] of Object.entries(entries)) {
  const expected = await call(plain);
  await model.clearGradients();
  await regression.clearGradients();
  for (const [way, make] of Object.entries(ways)) {
    const taken = [];
    const given = arrays((Type, values) => {
      const [array, take] = make(Type, values);
      array.set(values);
      taken.push(() => take(array));
      return array;
    });
    // Work that lies before it in the queue.
    const points = new Float32Array(4000).map(() => Math.random());
    const before = engine.kmeans({ ...kmeans, tolerance: 0, seed: 2, points, ...live() });
    const result = call(given);
    for (const take of taken) take();
    await result.then(
      (actual) => check(isDeepStrictEqual(actual, expected), `${name}, ${way}: another result`),
      (error) => failures.push(`${name}, ${way}: ${error.message}`),
    );
    await before;
    await model.clearGradients();
    await regression.clearGradients();
  }
}

// What the engine writes to.
const [{ name, values }] = named(model);
for (const [way, make] of Object.entries(ways)) {
  const [into, take] = make(Float32Array, values);
  const read = model.readTensor(name, 'weights', into);
  take(into);
  check(isDeepStrictEqual(await read, Float32Array.from(values)), `readTensor, ${way}: another result`);
}
const own = binding.largeFloats(1 << 19);
const held = engine.assign(own, own.subarray(0, 4), 4);
const written = model.readTensor(name, 'weights', own);
// Where a version of Node has it: the memory moves to another buffer, or is freed with it.
own.buffer.transfer?.();
check((await held).inertia === 0, 'memory of the addon, assign: another result');
check((await written) === undefined, 'memory of the addon is copied');

// An array that has lost its memory before the call; and getters that take it away within.
const refused = async (code, what, call) => {
  try {
    await call();
    failures.push(`${what}: no error`);
  } catch (error) {
    check(error.code === code, `${what}: ${error.code}: ${error.message}`);
  }
};
const gone = new Float32Array(12);
structuredClone(gone.buffer, { transfer: [gone.buffer] });
await refused('ERR_ARGUMENT', 'a detached array', () => engine.assign(gone, gone, 4));
const shrunk = new Float32Array(new ArrayBuffer(4 * length, { maxByteLength: 4 * length }));
const getter = { ...batchOf(plain), samples: [shrunk, Float32Array.from(wave(length))] };
Object.defineProperty(getter, 'starts', {
  get() {
    shrunk.buffer.resize(0);
    return Int32Array.of(0, length);
  },
});
await refused('ERR_BATCH', 'a getter that shrinks samples', () => model.encode(getter, 'output'));
const growing = { ...batchOf(plain), samples: [Float32Array.from(wave(length)), undefined] };
Object.defineProperty(growing.samples, 0, {
  get() {
    while (growing.samples.length < 2000) growing.samples.push(growing.samples[1]);
    return Float32Array.from(wave(length));
  },
});
growing.samples[1] = Float32Array.from(wave(length));
check((await model.encode(growing, 'output')).offsets[2] === 45, 'a list that grows while it is read');
await refused('ERR_ARGUMENT', 'cancel that is not shared', () =>
  engine.kmeans({
    ...kmeans,
    tolerance: 0,
    seed: 1,
    points: new Float32Array(40),
    ...live(),
    cancel: new Int32Array(1),
  }),
);
for (const count of [-1, 0.5, Number.NaN, 2 ** 31, 'x'])
  await refused('ERR_ARGUMENT', `largeFloats(${count})`, () => binding.largeFloats(count));
await refused('ERR_ARGUMENT', 'lockFile()', () => binding.lockFile());
engine.dispose();
process.stdout.write(`${JSON.stringify(failures)}\n`);
