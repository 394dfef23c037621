// The addon itself, below all that TypeScript checks: bytes as calls of its functions, in any order, with arguments that are
// almost right, or of any kind. All that may come of a call is a result, or an error with a code.
import { closeSync, existsSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { binding } from '../../../dist/model/binding.js';

// An addon that counts what is reached of it: CMake's EMOFRAME_COUNTERS.
const counting = fileURLToPath(new URL('../../../build/fuzz-addon/Release/emoframe.node', import.meta.url));
const countersBytes = 1 << 16;

/** The addon's counters, which lie in a file that it maps; before it is loaded. */
function openCounters() {
  const file = join(tmpdir(), `emoframe-counters-${process.pid}`);
  const zeros = new Uint8Array(countersBytes);
  writeFileSync(file, zeros);
  process.env.EMOFRAME_COUNTERS_FILE = file;
  const descriptor = openSync(file, 'r+');
  process.on('exit', () => closeSync(descriptor));
  return {
    clear: () => writeSync(descriptor, zeros, 0, countersBytes, 0),
    fetch: (into) => readSync(descriptor, into, 0, countersBytes, 0),
  };
}

const shape = {
  convDim: [12, 8, 16],
  convKernel: [10, 3, 2],
  convStride: [5, 2, 2],
  convBias: false,
  groupNorm: true,
  featureProjectionLayerNorm: true,
  hiddenSize: 16,
  layers: 2,
  heads: 2,
  intermediateSize: 24,
  positionalKernel: 6,
  positionalGroups: 4,
  stableLayerNorm: false,
  layerNormEpsilon: 1e-5,
  hiddenDropout: 0,
  attentionDropout: 0,
  activationDropout: 0,
  featureProjectionDropout: 0,
  finalDropout: 0,
  layerdrop: 0,
};
const alignment = {
  classes: 4,
  neutral: 1,
  source: 'features',
  layer: 'output',
  chunkFrames: 5,
  contextFrames: 3,
  width: 12,
  halfWidths: [2, 0],
  dropout: 0,
  scale: 0.4,
  switchingCost: 1.5,
};
const modelOptions = {
  shape,
  precision: 'fp32',
  maskedPrediction: { clusters: 5, dimension: 8, temperature: 0.1 },
  classifier: {
    classes: 4,
    pooling: 'attention',
    dense: [{ width: 6, norm: true, activation: 'tanh' }],
    frames: { window: 7, hop: 3 },
  },
  alignment,
};
const work = { frames: 100, utterances: 3, objective: 'classification', storedFrames: 0, longestStoredFrames: 0 };
const optimizer = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-6,
  weightDecay: 0.01,
  clipNorm: 1,
  step: 1,
  groups: [{ prefix: 'encoder.', learningRate: 1e-4 }],
};
const floats = (count) => Float32Array.from({ length: count }, (_, i) => Math.sin(i));
const batch = () => ({
  samples: [floats(400), floats(301)],
  starts: Int32Array.of(0, 400),
  lengths: Int32Array.of(400, 301),
  normalize: true,
});
const stored = () => ({ features: ['a', 'b'] });
const step = () => ({
  objective: 'classification',
  labels: Int32Array.of(0, 1),
  denominator: 2,
  featurePenalty: 0,
  featureGradientScale: 1,
  seed: 1,
  step: 1,
  dropout: false,
});
const kmeans = () => ({
  points: floats(90),
  dimension: 3,
  clusters: 4,
  restarts: 2,
  algorithm: 'lloyd',
  batchSize: 8,
  maxIterations: 5,
  tolerance: 1e-4,
  seed: 1,
  cancel: new Int32Array(1),
  progress: new Float64Array(2),
});

/** Every function, with arguments that it takes. */
const engineCalls = [
  ['createModel', () => [structuredClone(modelOptions)]],
  ['kmeans', () => [kmeans()]],
  ['assign', () => [floats(30), floats(9), 3]],
  ['align', () => [floats(24), Int32Array.of(0, 2, 6), { neutral: 0, scale: 0.1, switchingCost: 4, bias: floats(4) }]],
  ['memory', () => []],
  ['graphs', () => []],
];
const modelCalls = [
  ['tensors', () => []],
  ['importTensors', () => [[{ name: 'encoder.layer_norm.weight', data: floats(16) }]]],
  ['readTensor', () => ['encoder.layer_norm.weight', 'weights', new Float32Array(16)]],
  ['hasMoments', () => []],
  ['exportGradients', () => []],
  ['importMoments', () => [[{ name: 'encoder.layer_norm.weight', m: floats(16), v: floats(16) }]]],
  ['freeze', () => [['feature_extractor.']]],
  ['plan', () => [{ ...work }]],
  ['prepare', () => [{ ...work }]],
  ['storeFeatures', () => [['a', 'b'], batch()]],
  ['featureBytes', () => []],
  ['storedFrames', () => ['a']],
  ['clearFeatures', () => []],
  ['encode', () => [batch(), 1]],
  ['classify', () => [batch(), { starts: Int32Array.of(0, 1), counts: Int32Array.of(5, 4) }, 'classifier']],
  ['classify', () => [stored()]],
  ['alignmentInput', () => [batch()]],
  ['windowMoments', () => [batch()]],
  ['trainStep', () => [batch(), step()]],
  ['trainStep', () => [stored(), { ...step(), objective: 'alignment', frameLabels: new Int32Array(30) }]],
  [
    'trainOutputs',
    () => [
      batch(),
      { ...step(), objective: 'regression', targets: floats(8), others: { outputs: floats(4), targets: floats(4) } },
    ],
  ],
  ['optimizerStep', () => [{ ...optimizer, groups: [...optimizer.groups] }]],
  ['clearGradients', () => []],
  ['packForInference', () => []],
  ['dispose', () => []],
];
const bindingCalls = [
  ['describe', () => []],
  ['largeFloats', () => [100]],
  ['lockFile', () => [-1]],
  ['createEngine', () => [{ device: 'cpu', threads: 1, memoryLimit: 1 << 25, graphs: true }]],
];

/** Bytes as choices; when they are used up, all are 0. */
class Choices {
  #at = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  get over() {
    return this.#at >= this.bytes.length;
  }

  below(limit) {
    return this.over ? 0 : this.bytes[this.#at++] % limit;
  }

  pick(list) {
    return list[this.below(list.length)];
  }
}

const numbers = [
  0,
  -0,
  1,
  -1,
  2,
  0.5,
  255,
  65536,
  2 ** 20,
  2 ** 20 + 1,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  2 ** 53,
  -(2 ** 53),
].concat([2 ** 60, 1e300, -1e300, 1e-320, Number.NaN, Infinity, -Infinity]);

/** A view of memory that is no longer as it was. */
function lostMemory(choices, View) {
  const bytes = 8 * choices.below(64);
  const kind = choices.below(4);
  const buffer =
    kind === 0
      ? new SharedArrayBuffer(bytes)
      : kind === 1
        ? new ArrayBuffer(bytes, { maxByteLength: bytes + 4096 })
        : new ArrayBuffer(bytes);
  const view = new View(buffer);
  if (kind === 1) buffer.resize(choices.pick([0, 8, bytes, bytes + 4096]));
  if (kind === 2) structuredClone(buffer, { transfer: [buffer] });
  return view;
}

const views = [Float32Array, Int32Array, Float64Array, Uint8Array, BigInt64Array, DataView];

/** A value of any kind, nested so deep at most. */
function anything(choices, depth = 3) {
  switch (choices.below(14)) {
    case 0:
      return choices.pick([undefined, null, true, false, 1n, Symbol('x'), () => 1]);
    case 1:
    case 2:
    case 3:
      return choices.pick(numbers);
    case 4:
      return choices.below(256);
    case 5:
      return choices.pick([
        '',
        'a',
        'output',
        'layers',
        'regression',
        'alignment',
        'masked-prediction',
        'mini-batch',
        'bf16',
        'm',
        'v',
        '\0',
        'x'.repeat(5000),
      ]);
    case 6:
      return Array.from({ length: depth > 0 ? choices.below(5) : 0 }, () => anything(choices, depth - 1));
    case 7:
      return {};
    case 8:
      return lostMemory(choices, choices.pick(views));
    case 9:
      return floats(choices.below(256));
    case 10:
      return Int32Array.from({ length: choices.below(8) }, () => choices.pick(numbers));
    case 11:
      return {
        get classes() {
          throw new Error('A getter threw.');
        },
      };
    case 12:
      return new Proxy([], {
        get(target, name) {
          if (name === 'length') return 3;
          return target[name];
        },
      });
    default:
      return new Uint8Array(choices.below(64));
  }
}

/** A place in the arguments, at any depth, where another value is put. */
function change(choices, holder, depth) {
  const keys = Object.keys(holder);
  if (keys.length === 0 || choices.below(8) === 0) {
    if (Array.isArray(holder)) holder.push(anything(choices));
    else
      holder[
        choices.pick([
          'positionBias',
          'positionalDepth',
          'extraTokens',
          'mask',
          'waveform',
          'windowMean',
          'windowCovariance',
          'frameStarts',
          'frameCounts',
          'targets',
          'others',
          'frameLabels',
          'task',
          'source',
          'projector',
          'inputNorm',
          'melBands',
          'ranges',
          'groups',
          'features',
        ])
      ] = anything(choices);
    return;
  }
  const key = choices.pick(keys);
  const value = holder[key];
  if (ArrayBuffer.isView(value) && choices.below(3) > 0) {
    if (choices.below(4) === 0) holder[key] = lostMemory(choices, value.constructor);
    else if (value.length > 0)
      value[choices.below(value.length)] = value instanceof BigInt64Array ? 1n : choices.pick(numbers);
  } else if (
    typeof value === 'object' &&
    value !== null &&
    !ArrayBuffer.isView(value) &&
    depth < 4 &&
    choices.below(6) > 0
  ) {
    change(choices, value, depth + 1);
  } else if (choices.below(5) === 0) delete holder[key];
  else holder[key] = anything(choices);
}

/** What a caller gets wrong is said with a code; anything else is a fault of the addon. */
function check(error, name) {
  const { code, message } = error ?? {};
  if (message === 'A getter threw.' || error?.cancelled === true) return;
  const refused = typeof code === 'string' && /^ERR_[A-Z_]+$/.test(code) && code !== 'ERR_UNEXPECTED';
  const ours = code === 'ERR_INTERNAL' && !message.includes('for inference only');
  if (!refused || ours) throw new Error(`${name} failed with ${code}: ${error?.stack}`);
}

let addon;
let engine;
let model;

/** One call, whose result is waited for unless the next is to be queued behind it. */
function call(choices, receiver, [name, argumentsOf], pending) {
  const args = argumentsOf();
  try {
    for (let changes = choices.below(4); changes > 0; changes--) change(choices, args, 0);
    const result = receiver[name](...args);
    if (result instanceof Promise) pending.push(result.catch((error) => check(error, name)));
    // While it runs, its caller does what it should not.
    if (choices.below(16) === 1) {
      for (const value of args.flatMap((arg) => [arg, ...Object.values(arg ?? {}).flat()])) {
        if (ArrayBuffer.isView(value) && value.buffer.resizable) value.buffer.resize(0);
      }
    }
    return result;
  } catch (error) {
    check(error, name);
    return undefined;
  }
}

async function perform(bytes) {
  const choices = new Choices(bytes);
  addon ??= existsSync(counting) ? createRequire(import.meta.url)(counting) : binding();
  engine ??= addon.createEngine({ device: 'cpu', threads: 1, memoryLimit: 1 << 25, graphs: true });
  const pending = [];
  for (let calls = 0; calls < 8 && !choices.over; calls++) {
    const kind = choices.below(16);
    if (kind === 0) {
      const made = call(choices, addon, choices.pick(bindingCalls), pending);
      made?.dispose?.();
    } else if (kind < 5) {
      call(choices, engine, choices.pick(engineCalls), pending);
    } else {
      model ??= await engine.createModel(modelOptions);
      const chosen = choices.pick(modelCalls);
      call(choices, model, chosen, pending);
      if (chosen[0] === 'dispose' || chosen[0] === 'packForInference') {
        await Promise.all(pending);
        model.dispose();
        model = undefined;
      }
    }
    if (choices.below(3) > 0) await Promise.all(pending);
  }
  await Promise.all(pending);
}

export const addonReader = {
  file: 'calls.bin',
  seeds: async () =>
    [...modelCalls, ...engineCalls].map((_, i) =>
      i < modelCalls.length ? Buffer.from([5, i, 0, 0, 1]) : Buffer.from([1, i - modelCalls.length, 0, 0, 1]),
    ),
  openCounters: () => (existsSync(counting) ? openCounters() : undefined),
  read: async (path) => perform(await readFile(path)),
  readBytes: perform,
};
