// The values that a pickle may hold here, and the classes and functions that it may name.
import type { StoredType } from '../dtypes.js';

/** A Python tuple, apart from a list, which is a plain array. A set is a plain array too. */
export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

/** Python's bytes: a view of the pickle, not a copy. */
export class PickleBytes {
  constructor(readonly bytes: Uint8Array) {}
}

/** A typed storage held outside the pickle, under `key`. */
export class PickleStorage {
  constructor(
    readonly key: string,
    readonly type: StoredType,
    /** Elements of `type`. */
    readonly count: number,
  ) {}
}

/** A view of a storage; offset and strides in elements. Nothing of it has been checked against the storage. */
export class PickleTensor {
  constructor(
    readonly storage: PickleStorage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

/** A name on the allow-list, as `module.name`. */
export class PickleGlobal {
  constructor(readonly name: string) {}
}

/**
 * What a pickle says of an object of some class: what it would have been made from and the attributes that would have been
 * set on it. No code of the class has a part in it.
 */
export class PickleObject {
  /** What BUILD would have set: mostly a dict of attributes. */
  state: PickleValue = null;
  /** Items of an object that is also a dict, or a list, once it has any. */
  entries?: PickleDict;
  elements?: PickleValue[];

  constructor(
    /** The class or function, as `module.name`. */
    readonly name: string,
    readonly given: readonly PickleValue[],
  ) {}
}

/** An array whose bytes lie in the pickle's own stream. */
export class PickleArray {
  constructor(
    readonly type: StoredType,
    readonly shape: readonly number[],
    /** Whether the first axis runs fastest. */
    readonly fortran: boolean,
    readonly bytes: Uint8Array,
  ) {}
}

export type PickleDict = Map<string | number | boolean | null, PickleValue>;
export type PickleValue =
  | null
  | boolean
  | number
  | string
  | PickleValue[]
  | PickleTuple
  | PickleBytes
  | PickleDict
  | PickleStorage
  | PickleTensor
  | PickleGlobal
  | PickleObject
  | PickleArray;

/** Longer texts are cut in messages. */
const longestShown = 120;

/**
 * A value as a message has it. A container in a pickle can hold another many times over, which holds a third as often, or itself: a few
 * hundred bytes are a text without end. So containers are named by their kind, and never walked, joined or printed.
 */
export function shown(value: PickleValue | undefined): string {
  if (value === undefined || value === null) return 'None';
  if (typeof value !== 'object') return String(value).slice(0, longestShown);
  if (Array.isArray(value)) return 'a list';
  if (value instanceof Map) return 'a dict';
  if (value instanceof PickleTuple) return 'a tuple';
  return value instanceof PickleObject || value instanceof PickleGlobal ? `an object of ${value.name}` : 'binary data';
}

/** PyTorch's storage classes and what they hold. */
export const storageTypes = new Map<string, StoredType>([
  ['torch.DoubleStorage', 'F64'],
  ['torch.FloatStorage', 'F32'],
  ['torch.HalfStorage', 'F16'],
  ['torch.BFloat16Storage', 'BF16'],
  ['torch.LongStorage', 'I64'],
  ['torch.IntStorage', 'I32'],
  ['torch.ShortStorage', 'I16'],
  ['torch.CharStorage', 'I8'],
  ['torch.ByteStorage', 'U8'],
  ['torch.BoolStorage', 'BOOL'],
]);
export const orderedDict = 'collections.OrderedDict';
export const defaultDict = 'collections.defaultdict';
export const rebuildTensor = 'torch._utils._rebuild_tensor_v2';
export const rebuildParameter = 'torch._utils._rebuild_parameter';
export const torchSize = 'torch.Size';
/** How objects without a `__reduce__` of their own were pickled before protocol 2. */
export const reconstructors: ReadonlySet<string> = new Set(['copyreg._reconstructor', 'copy_reg._reconstructor']);
/** How protocol 2 writes bytes: as text of the same numbers. */
export const encodeText = '_codecs.encode';

/** What a value is made of here. */
const made = new Set([
  ...storageTypes.keys(),
  orderedDict,
  defaultDict,
  rebuildTensor,
  rebuildParameter,
  torchSize,
  encodeText,
  ...reconstructors,
]);

/**
 * The packages that write checkpoints, whose classes are kept as {@link PickleObject}s. As none is run, this list makes nothing
 * safer: it is there so that a file that asks for anything else, such as `os.system`, is refused with a warning.
 */
const packages = new Set([
  ...['accelerate', 'argparse', 'enum', 'fairseq', 'joblib', 'lightning', 'lightning_fabric', 'numpy', 'omegaconf'],
  ...['pathlib', 'pytorch_lightning', 'sklearn', 'torch', 'torchaudio', 'transformers', 'typing'],
]);
const plainTypes =
  /^(?:builtins|__builtin__)\.(?:object|dict|list|tuple|set|frozenset|str|unicode|int|long|float|bool|bytes|bytearray|complex|slice)$/;

/** The longest that a checkpoint names has some sixty characters. */
export const longestGlobal = 200;

/** Whether a pickle may name this class or function. */
export function isAllowedGlobal(module: string, name: string): boolean {
  const full = `${module}.${name}`;
  // A dotted name reaches from a module into what it has imported.
  return made.has(full) || plainTypes.test(full) || (packages.has(module.split('.')[0]!) && /^\w+$/.test(name));
}
