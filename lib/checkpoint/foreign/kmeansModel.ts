// K-means models of scikit-learn, as joblib saves them (`hubert_base_ls960_L9_km500.bin` of fairseq's HuBERT is one). The file is a
// pickle with arrays in between; it is read as data, and of the model only its centroids are taken.
import { promisify } from 'node:util';
import { unzip } from 'node:zlib';
import { EmoframeError } from '../../errors.js';
import { readSmallFile } from '../../files/read.js';
import { newFloats } from '../../model/floats.js';
import { yieldWhenDue } from '../../yield.js';
import { bytesPerElement, decode, type StoredType } from '../dtypes.js';
import { arrayInStream, arrayOf } from './numpyArrays.js';
import { unpickle } from './pickle.js';
import { type PickleArray, PickleObject, type PickleValue } from './pickleValues.js';

/** A model may keep a label of 4 bytes for every frame that it was fitted on; this suffices for 370 hours of audio. */
const limitBytes = 256 << 20;

const decompress = promisify(unzip);

/** A model's centroids `[K, C]`. */
export interface Centroids {
  data: Float32Array;
  shape: [clusters: number, columns: number];
}

function refuse(file: string, what: string, cause?: unknown): EmoframeError {
  return new EmoframeError('ERR_CHECKPOINT', `${file} is not a k-means model that can be read: ${what}.`, {
    file,
    cause,
  });
}

/** The pickle in a file, which joblib may have compressed. */
async function readStream(file: string): Promise<Uint8Array> {
  const bytes = await readSmallFile(file, limitBytes, (reason, cause) => refuse(file, reason, cause));
  if (bytes[0] === 0x80) return bytes;
  const zlib = bytes[0] === 0x78 || (bytes[0] === 0x1f && bytes[1] === 0x8b);
  if (!zlib) throw refuse(file, 'it is neither a pickle nor one compressed with zlib or gzip');
  return decompress(bytes, { maxOutputLength: limitBytes }).catch((error: Error) => {
    throw refuse(file, `it does not decompress to at most ${limitBytes} bytes (${error.message})`, error);
  });
}

/** The attribute of a fitted KMeans or MiniBatchKMeans, or the only matrix of a file that holds nothing else. */
function centroidsIn(value: PickleValue): PickleArray | undefined {
  if (!(value instanceof PickleObject)) return arrayOf(value);
  const attributes = value.state;
  return attributes instanceof Map ? arrayOf(attributes.get('cluster_centers_')) : arrayOf(value);
}

/** What centroids are; the others would be four times as long as floats. */
const centroidTypes: readonly StoredType[] = ['F64', 'F32', 'F16'];
/** Elements that are done without a break: a fraction of a millisecond. */
const atOnce = 1 << 16;

/** Values in row-major order, as float32. */
async function valuesOf({ type, shape, fortran, bytes }: PickleArray): Promise<Float32Array> {
  const [rows = 0, columns = 0] = shape;
  const count = rows * columns;
  const stored = newFloats(count);
  for (let at = 0; at < count; at += atOnce) {
    await yieldWhenDue();
    // Elements are read where they are a multiple of 8 bytes from the start of their memory.
    const part = bytes.slice(at * bytesPerElement[type], (at + atOnce) * bytesPerElement[type]);
    decode(part, type, stored, at);
  }
  if (!fortran) return stored;
  const data = newFloats(count);
  for (let at = 0; at < count; at++) {
    if (at % atOnce === 0) await yieldWhenDue();
    data[at] = stored[(at % columns) * rows + Math.floor(at / columns)]!;
  }
  return data;
}

/**
 * The centroids of a k-means model that scikit-learn fitted and joblib (or pickle) saved, as it is or compressed with zlib or gzip.
 * Executes nothing.
 *
 * @throws EmoframeError `ERR_CHECKPOINT` (no such model, or more than 256 MiB), `ERR_PICKLE`, `ERR_FILE_NOT_FOUND`, `ERR_READ`
 * @example
 * const { data, shape } = await readKMeansModel('hubert_base_ls960_L9_km500.bin'); // shape: [500, 768]
 */
export async function readKMeansModel(file: string): Promise<Centroids> {
  const stream = await readStream(file);
  const { value } = await unpickle(stream, file, {
    complete: (object, at) => {
      const found = arrayInStream(object, stream, at);
      if (found === undefined) return undefined;
      if (found.end === undefined) {
        throw refuse(file, `the array at byte ${at} is of a type that cannot be read, or cut short`);
      }
      return { value: found.array ?? null, next: found.end };
    },
  });
  const centroids = centroidsIn(value);
  if (centroids === undefined) throw refuse(file, 'it has no cluster_centers_; was the model fitted?');
  const [clusters, columns] = centroids.shape;
  if (clusters === undefined || columns === undefined || centroids.shape.length !== 2 || clusters * columns === 0) {
    throw refuse(file, `its centroids have shape [${centroids.shape.join(', ')}], not [K, C]`);
  }
  if (!centroidTypes.includes(centroids.type)) throw refuse(file, 'its centroids are not floats');
  return { data: await valuesOf(centroids), shape: [clusters, columns] };
}
