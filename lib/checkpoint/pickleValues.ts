// All that a pickle may be made of here, and all that it may name.
import type { StoredType } from './dtypes.js';

/** A Python tuple, apart from a list, which is a plain array. */
export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
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

export type PickleDict = Map<string | number | boolean | null, PickleValue>;
export type PickleValue =
  | null
  | boolean
  | number
  | string
  | PickleValue[]
  | PickleTuple
  | PickleDict
  | PickleStorage
  | PickleTensor
  | PickleGlobal;

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
export const rebuildTensor = 'torch._utils._rebuild_tensor_v2';
export const rebuildParameter = 'torch._utils._rebuild_parameter';
export const torchSize = 'torch.Size';
/** Every class and function that a pickle may name. */
export const allowedGlobals: ReadonlySet<string> = new Set([
  ...storageTypes.keys(),
  orderedDict,
  rebuildTensor,
  rebuildParameter,
  torchSize,
]);
