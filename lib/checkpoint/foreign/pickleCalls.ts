// The values of the calls in a pickle. A few functions make the values that a checkpoint consists of; of every other that may be
// named, only the name and the arguments are kept. Nothing is called.
import {
  defaultDict,
  encodeText,
  orderedDict,
  PickleBytes,
  type PickleDict,
  PickleGlobal,
  PickleObject,
  PickleStorage,
  PickleTensor,
  PickleTuple,
  type PickleValue,
  rebuildParameter,
  rebuildTensor,
  reconstructors,
  storageTypes,
  torchSize,
} from './pickleValues.js';

/** What is wrong with a call; the pickle's reader says where. */
export class BadCall extends Error {}

/**
 * How much a call has to look at: its arguments, and what is in them. A pickle pays for it, as it may give the same long list or text to
 * every one of its calls.
 */
export function* costOf(argumentTuple: PickleValue): Generator<number> {
  if (!(argumentTuple instanceof PickleTuple)) return;
  yield argumentTuple.items.length;
  for (const item of argumentTuple.items) {
    if (typeof item === 'string' || Array.isArray(item)) yield item.length;
    else if (item instanceof PickleTuple) yield item.items.length;
  }
}

/** The value of `callee(*given)`. Throws a {@link BadCall}. */
export function callValue(callee: PickleValue, argumentTuple: PickleValue): PickleValue {
  if (!(callee instanceof PickleGlobal) || !(argumentTuple instanceof PickleTuple)) {
    throw new BadCall('calls something that cannot be called');
  }
  const given = argumentTuple.items;
  switch (callee.name) {
    case orderedDict:
      return dictOfPairs(given);
    case defaultDict:
      return new Map();
    case torchSize:
      return new PickleTuple(sizes(given[0] ?? null));
    case rebuildParameter:
      if (given[0] instanceof PickleTensor) return given[0];
      break;
    case rebuildTensor: {
      const [storage, offset, shape, strides] = given;
      if (!(storage instanceof PickleStorage) || given.length < 4) break;
      const tensor = new PickleTensor(storage, size(offset!), sizes(shape!), sizes(strides!));
      if (tensor.shape.length !== tensor.strides.length) {
        throw new BadCall('has a tensor with unequal size and stride');
      }
      return tensor;
    }
    case encodeText:
      if (typeof given[0] === 'string' && given[1] === 'latin1') return latin1Bytes(given[0]);
      break;
    default:
      if (storageTypes.has(callee.name)) break;
      if (!reconstructors.has(callee.name)) return new PickleObject(callee.name, given);
      if (given[0] instanceof PickleGlobal) return new PickleObject(given[0].name, []);
  }
  throw new BadCall(`calls ${callee.name} with arguments that it does not take`);
}

/** Storages are numbered, or named after their places in memory. */
const longestKey = 100;
/** PyTorch itself allows 64 axes. */
const mostAxes = 64;

/** PyTorch's persistent ids: ('storage', class, key, device, element count), and in the form of before 1.6 a view, or None. */
export function storageOf(id: PickleValue): PickleStorage {
  const [kind, type, key, , count, view = null] = id instanceof PickleTuple ? id.items : [];
  const stored = type instanceof PickleGlobal ? storageTypes.get(type.name) : undefined;
  if (
    kind !== 'storage' ||
    stored === undefined ||
    typeof key !== 'string' ||
    key.length > longestKey ||
    view !== null
  ) {
    throw new BadCall('has a persistent id that is not a tensor storage');
  }
  return new PickleStorage(key, stored, size(count!));
}

/** Puts pairs, given one after the other, into a dict. */
export function setPairs(dict: PickleDict, pairs: readonly PickleValue[]): void {
  if (pairs.length % 2 !== 0) throw new BadCall('gives a dict a key without a value');
  for (let i = 0; i < pairs.length; i += 2) {
    const key = pairs[i]!;
    if (typeof key === 'object' && key !== null)
      throw new BadCall('has a dict key that is neither a string nor a number');
    dict.set(key, pairs[i + 1]!);
  }
}

function dictOfPairs(given: readonly PickleValue[]): PickleDict {
  // Python 3 sets the pairs one by one afterwards; Python 2 wrote them as an argument.
  const pairs = given[0] ?? [];
  const wrong = 'makes an OrderedDict of something other than pairs';
  if (given.length > 1 || !Array.isArray(pairs)) throw new BadCall(wrong);
  const dict: PickleDict = new Map();
  for (const pair of pairs) {
    const items = pair instanceof PickleTuple ? pair.items : pair;
    if (!Array.isArray(items) || items.length !== 2) throw new BadCall(wrong);
    setPairs(dict, items);
  }
  return dict;
}

function size(value: PickleValue): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new BadCall('has a tensor whose size, stride or offset is not a non-negative integer');
  }
  return value;
}

function sizes(value: PickleValue): number[] {
  const items = value instanceof PickleTuple ? value.items : value;
  if (!Array.isArray(items)) throw new BadCall('has a tensor whose size or stride is not a tuple');
  if (items.length > mostAxes) throw new BadCall(`has a tensor of ${items.length} axes`);
  return items.map(size);
}

function latin1Bytes(text: string): PickleBytes {
  if (/[\u0100-\uffff]/.test(text)) throw new BadCall('has bytes written as text with characters above U+00FF');
  return new PickleBytes(Buffer.from(text, 'latin1'));
}
