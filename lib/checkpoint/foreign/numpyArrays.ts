// NumPy's arrays in a pickle, as data. joblib writes an array's bytes into the stream, right after the object that describes it.
import { bytesPerElement, type StoredType } from '../dtypes.js';
import { PickleArray, PickleBytes, PickleGlobal, PickleObject, PickleTuple, type PickleValue } from './pickleValues.js';

const types = new Map<string, StoredType>([
  ['f8', 'F64'],
  ['f4', 'F32'],
  ['f2', 'F16'],
  ['i8', 'I64'],
  ['i4', 'I32'],
  ['i2', 'I16'],
  ['i1', 'I8'],
  ['u1', 'U8'],
  ['b1', 'BOOL'],
]);

/** joblib's own, and the copy that scikit-learn had before 0.21. */
const wrapper = /^(?:sklearn\.externals\.)?joblib\.numpy_pickle\.NumpyArrayWrapper$/;
const reconstruct = /^numpy\.(?:_?core)\.multiarray\._reconstruct$/;

/** Bytes of an element of `numpy.dtype('f8')`, and what they are, if it is a number that can be read here. */
function elementOf(dtype: PickleValue | undefined): { type: StoredType | undefined; bytes: number } | undefined {
  if (!(dtype instanceof PickleObject) || dtype.name !== 'numpy.dtype') return undefined;
  const [name] = dtype.given;
  // The state has the byte order, and the size of what is no number.
  const [, order, , , , size] = dtype.state instanceof PickleTuple ? dtype.state.items : [];
  const match = typeof name === 'string' ? /^[a-zA-NP-Z](\d{1,6})$/.exec(name) : null;
  if (match === null) return undefined;
  const bytes = typeof size === 'number' && size > 0 ? size : Number(match[1]);
  return { type: order === '>' ? undefined : types.get(match[0]), bytes };
}

/** NumPy's own limit. */
const mostAxes = 64;

function shapeOf(value: PickleValue | undefined): number[] | undefined {
  if (!(value instanceof PickleTuple) || value.items.length > mostAxes) return undefined;
  const sizes = value.items.filter((size) => typeof size === 'number' && Number.isSafeInteger(size) && size >= 0);
  return sizes.length === value.items.length ? (sizes as number[]) : undefined;
}

const product = (shape: readonly number[], bytes: number): number => shape.reduce((all, extent) => all * extent, bytes);

/**
 * joblib's array that begins at `at` in `stream`, right after the object that describes it.
 *
 * @returns undefined when `object` describes no array; without `end` when it cannot be followed: an array of objects, or longer
 *   than the stream; without `array` when it is of a kind that has no use here
 */
export function arrayInStream(
  object: PickleObject,
  stream: Uint8Array,
  at: number,
): { array?: PickleArray; end?: number } | undefined {
  if (!wrapper.test(object.name)) return undefined;
  const fields = object.state instanceof Map ? object.state : new Map();
  const element = elementOf(fields.get('dtype'));
  const shape = shapeOf(fields.get('shape'));
  if (element === undefined || shape === undefined) return {};
  // joblib 1.2 and later align the bytes: the first says how many bytes of padding follow.
  const aligned = typeof fields.get('numpy_array_alignment_bytes') === 'number';
  const start = aligned ? at + 1 + (stream[at] ?? 0) : at;
  const end = start + product(shape, element.bytes);
  if (!(end <= stream.length)) return {};
  if (element.type === undefined) return { end };
  return { array: new PickleArray(element.type, shape, fields.get('order') === 'F', stream.subarray(start, end)), end };
}

/** An array that NumPy itself pickled: (version, shape, dtype, whether in Fortran order, bytes). */
export function arrayOf(value: PickleValue | undefined): PickleArray | undefined {
  if (value instanceof PickleArray) return value;
  if (!(value instanceof PickleObject) || !reconstruct.test(value.name)) return undefined;
  if (!(value.given[0] instanceof PickleGlobal) || !(value.state instanceof PickleTuple)) return undefined;
  const [, sizes, dtype, fortran, held] = value.state.items;
  const type = elementOf(dtype)?.type;
  const shape = shapeOf(sizes);
  if (type === undefined || shape === undefined || !(held instanceof PickleBytes)) return undefined;
  if (held.bytes.length !== product(shape, bytesPerElement[type])) return undefined;
  return new PickleArray(type, shape, fortran === true, held.bytes);
}
