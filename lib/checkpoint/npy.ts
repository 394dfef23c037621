// NumPy's .npy format: magic, version, header length, a Python dict as text, then the array's bytes.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
import type { FileHandle } from 'node:fs/promises';
import { EmoframeError } from '../errors.js';
import { streamFileAtomic, writeFully } from '../files/atomic.js';
import { OpenFile } from '../files/read.js';
import { bytesPerElement, readElements, type StoredType } from './dtypes.js';

const headerLimitBytes = 65536;
/** Of NumPy's own arrays. */
const mostDimensions = 64;
const magic = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59);

function refuse(path: string, what: string, cause?: unknown): EmoframeError {
  return new EmoframeError('ERR_NPY', `${path} is not a .npy file that can be read: ${what}.`, { file: path, cause });
}

/**
 * Writes an array as .npy (version 1.0, little-endian, C order), atomically.
 *
 * @param shape its product must be the number of values
 * @throws EmoframeError `ERR_TENSOR`, `ERR_WRITE`
 * @example
 * await writeNpy('hidden.npy', hidden, [frames, 768]); // numpy.load('hidden.npy').shape == (frames, 768)
 */
export async function writeNpy(path: string, data: Float32Array | Int32Array, shape: number[]): Promise<void> {
  if (shape.reduce((product, extent) => product * extent, 1) !== data.length) {
    throw new EmoframeError(
      'ERR_TENSOR',
      `${path}: shape [${shape.join(', ')}] does not hold ${data.length} values; give as many as the shape says.`,
      { file: path },
    );
  }
  const values = data.slice();
  const descr = data instanceof Float32Array ? '<f4' : '<i4';
  // A tuple of one needs its comma.
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // The data starts at a multiple of 64 so that it can be mapped; the header ends with a newline.
  const total = Math.ceil((10 + text.length + 1) / 64) * 64;
  const head = new Uint8Array(total).fill(0x20);
  head.set(magic);
  head.set([1, 0], 6);
  new DataView(head.buffer).setUint16(8, total - 10, true);
  head.set(new TextEncoder().encode(text), 10);
  head[total - 1] = 0x0a;
  const write = async (handle: FileHandle) => {
    await writeFully(handle, head);
    await writeFully(handle, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  };
  await streamFileAtomic(path, write, { followLink: true });
}

const types = new Map<string, StoredType>([
  ['<f2', 'F16'],
  ['<f4', 'F32'],
  ['<f8', 'F64'],
  ['<i4', 'I32'],
]);

/**
 * Reads a .npy file of float32 (also float16 and float64, as float32) or int32, in C order.
 *
 * @throws EmoframeError `ERR_NPY` (malformed, another dtype, Fortran order, or size and shape disagree),
 *   `ERR_FILE_NOT_FOUND`, `ERR_READ`
 * @example
 * const { data, shape } = await readNpy('centroids.npy'); // Float32Array, [50, 768]
 */
export async function readNpy(path: string): Promise<{ data: Float32Array | Int32Array; shape: number[] }> {
  const file = await OpenFile.open(path, (reason, cause) => refuse(path, reason, cause));
  const { size } = file;
  try {
    const start = await file.read(0, Math.min(12, size));
    if (start.length < 12 || magic.some((byte, i) => start[i] !== byte))
      throw refuse(path, 'it does not begin with the signature of one');
    const view = new DataView(start.buffer);
    const version = view.getUint8(6);
    if (version < 1 || version > 3) throw refuse(path, `it is of version ${version}`);
    const [headerStart, length] = version === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
    if (length > headerLimitBytes) throw refuse(path, `its header has ${length} bytes, more than ${headerLimitBytes}`);
    if (headerStart + length > size) throw refuse(path, 'its header is cut short');
    const header = new TextDecoder('latin1').decode(await file.read(headerStart, length)).trim();

    const match =
      /^\{\s*'descr':\s*'([^']{1,16})',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([\d,\s]*)\),?\s*\}$/.exec(
        header,
      );
    if (!match) throw refuse(path, 'its header is not that of a plain array');
    const [, descr, fortran, extents] = match as unknown as [string, string, string, string];
    const shape = extents
      .split(',')
      .map((extent) => extent.trim())
      .filter((extent) => extent !== '')
      .map(Number);
    if (shape.length > mostDimensions)
      throw refuse(path, `it has ${shape.length} dimensions, more than ${mostDimensions}`);
    if (fortran === 'True' && shape.length > 1) {
      throw refuse(path, 'it is in Fortran order; save it with numpy.ascontiguousarray');
    }
    const type = types.get(descr);
    if (!type) throw refuse(path, `its dtype is ${descr}; save it as float32 or int32`);
    const count = shape.reduce((product, extent) => product * extent, 1);
    const position = headerStart + length;
    // Extents of any size fit beside one of 0.
    if (![count, ...shape].every(Number.isSafeInteger) || position + count * bytesPerElement[type] !== size) {
      throw refuse(path, `its shape (${shape.join(', ')}) of ${descr} does not fit its ${size} bytes`);
    }
    if (type === 'I32') {
      return { data: new Int32Array((await file.read(position, 4 * count)).buffer), shape };
    }
    return { data: await readElements(file, 'array', type, position, count), shape };
  } finally {
    await file.close();
  }
}
