// What the addon is called with that it should not be: bytes choose what is changed in right arguments, and into what.
import { floats } from './addonCalls.js';

/** Bytes as choices; when they are used up, all are 0. */
export class Choices {
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
  ...[0, -0, 1, -1, 2, 0.5, 255, 65536, 2 ** 20, 2 ** 20 + 1, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 53],
  ...[-(2 ** 53), 2 ** 60, 1e300, -1e300, 1e-320, Number.NaN, Infinity, -Infinity],
];
const words = [
  ...['', 'a', 'output', 'layers', 'hidden', 'features', 'regression', 'alignment', 'masked-prediction', 'mini-batch'],
  ...['bf16', 'tf32', 'm', 'v', 'max', 'sum', 'stats', 'attentive-stats', 'relu', 'frame', 'utterance', 'slopes'],
  ...['cuda:0', 'cpu', '\0', '\ud800', 'x'.repeat(5000)],
];
/** Fields that may be absent. */
const optional = [
  ...['positionBias', 'positionalDepth', 'extraTokens', 'featureProjectionEpsilon', 'mask', 'waveform', 'epsilon'],
  ...['windowMean', 'windowCovariance', 'frameStarts', 'frameCounts', 'targets', 'others', 'frameLabels', 'task'],
  ...['source', 'projector', 'inputNorm', 'melBands', 'ranges', 'groups', 'features', 'bias', 'norm', 'names'],
];
const views = [Float32Array, Int32Array, Float64Array, Uint8Array, BigInt64Array, DataView];

/** A view of memory that is no longer as it was, is shared, may grow, or of which it is a part. */
function oddMemory(choices, View) {
  const bytes = 8 * choices.below(64);
  const most = bytes + 4096;
  const kind = choices.below(6);
  if (kind === 0) return new View(new SharedArrayBuffer(bytes));
  if (kind === 1) return new View(new SharedArrayBuffer(bytes, { maxByteLength: most }));
  if (kind === 2) return new View(new ArrayBuffer(bytes + 16), 8, choices.below(2));
  const buffer = kind === 3 ? new ArrayBuffer(bytes) : new ArrayBuffer(bytes, { maxByteLength: most });
  // Of a fixed length, it is out of bounds when its buffer shrinks.
  const view = kind === 4 && bytes > 0 ? new View(buffer, 0, 1) : new View(buffer);
  if (kind === 3) structuredClone(buffer, { transfer: [buffer] });
  else buffer.resize(choices.pick([0, 8, bytes, most]));
  return view;
}

/** A value of any kind, nested so deep at most. */
function anything(choices, state, depth = 3) {
  switch (choices.below(16)) {
    case 0:
      return choices.pick([undefined, null, true, false, 1n, Symbol('x'), () => 1]);
    case 1:
    case 2:
    case 3:
      return choices.pick(numbers);
    case 4:
      return choices.below(256);
    case 5:
      return choices.pick(words);
    case 6:
      return Array.from({ length: depth > 0 ? choices.below(5) : 0 }, () => anything(choices, state, depth - 1));
    case 7:
      return Object.create(choices.pick([null, {}, state.model ?? null, []]));
    case 8:
      return oddMemory(choices, choices.pick(views));
    case 9:
      return floats(choices.below(256));
    case 10:
      return Int32Array.from({ length: choices.below(8) }, () => choices.pick(numbers));
    case 11:
      return choices.pick(state.large);
    case 12:
      return new Proxy(choices.pick([[], {}, floats(4)]), {
        get: (target, name) => (name === 'length' ? 3 : target[name]),
      });
    case 13:
      return choices.pick([state.model, state.engine, Promise.resolve(), new Date(), /x/]);
    case 14:
      return new Array(choices.pick([3, 1000, 2 ** 32 - 1]));
    default:
      return new Uint8Array(choices.below(64));
  }
}

/** Every array that some arguments hold, without asking getters. */
export function viewsOf(value, depth = 4) {
  if (ArrayBuffer.isView(value)) return [value];
  if (typeof value !== 'object' || value === null || depth === 0) return [];
  return Object.values(Object.getOwnPropertyDescriptors(value)).flatMap((its) => viewsOf(its.value, depth - 1));
}

/** The array with its values in memory that may shrink. */
function shrinkable(view) {
  const buffer = new ArrayBuffer(view.byteLength, { maxByteLength: view.byteLength + 64 });
  const copy = new view.constructor(buffer);
  copy.set(view);
  return copy;
}

/** Whatever was there before, a getter too. */
function put(holder, key, what) {
  Object.defineProperty(holder, key, { enumerable: true, configurable: true, writable: true, ...what });
}

/** Changes a value, at any depth, of the arguments. */
export function change(choices, state, holder, depth = 0) {
  const keys = Object.keys(holder);
  if (keys.length === 0 || choices.below(8) === 0) {
    if (Array.isArray(holder)) put(holder, Math.min(holder.length, 2 ** 32 - 2), { value: anything(choices, state) });
    else put(holder, choices.pick(optional), { value: anything(choices, state) });
    return;
  }
  const key = choices.pick(keys);
  const { value } = Object.getOwnPropertyDescriptor(holder, key);
  const kind = choices.below(12);
  if (kind === 0) delete holder[key];
  else if (kind === 1) {
    const misdeed = choices.pick(state.misdeeds);
    Object.defineProperty(holder, key, { get: () => misdeed() ?? value, enumerable: true, configurable: true });
  } else if (ArrayBuffer.isView(value) && kind < 9) {
    if (kind === 2) put(holder, key, { value: oddMemory(choices, value.constructor) });
    else if (kind === 3 && !(value.buffer instanceof SharedArrayBuffer)) put(holder, key, { value: shrinkable(value) });
    else if (value.length > 0)
      value[choices.below(value.length)] = value instanceof BigInt64Array ? 1n : choices.pick(numbers);
  } else if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && depth < 4 && kind < 10) {
    change(choices, state, value, depth + 1);
  } else put(holder, key, { value: anything(choices, state) });
}
