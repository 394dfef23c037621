// What `torch.save` writes. Since PyTorch 1.6 it is a zip archive: `NAME/data.pkl` holds the structure, `NAME/data/KEY` the bytes
// of each storage. Before, it was one stream: pickles of a magic number, a version, the machine, the structure and the storages'
// keys, then each storage as a count and its bytes. Several tensors may be views of one storage.
import { EmoframeError } from '../../errors.js';
import { OpenFile, orClose } from '../../files/read.js';
import { roomFor } from '../../model/floats.js';
import type { StoredTensor } from '../../model/tensor.js';
import { yieldWhenDue } from '../../yield.js';
import { allocate, bytesPerElement, readElements } from '../dtypes.js';
import { damaged } from '../failures.js';
import { type Unpickled, unpickle } from './pickle.js';
import { type PickleDict, type PickleStorage, PickleTensor, type PickleValue, shown } from './pickleValues.js';
import { readZipEntries } from './zip.js';

/** A state dict's structure takes some hundred bytes a tensor. */
const pickleLimitBytes = 64 << 20;
/** Each is looked up in the file: as many as an archive may have entries. */
const mostStorages = 100_000;
/** The largest public models have some thousand. */
const mostTensors = 100_000;

/** The magic number in the first pickle of a stream of before 1.6. */
const legacyMagic = Buffer.from('6cfc9c46f9206aa85019', 'hex');
const legacyVersion = 1001;

/** An open file of PyTorch: what was saved, with tensors that are read when they are asked for. */
export interface TorchFile {
  value: PickleValue;
  /** The tensors of a dict in `value`. Errors: `ERR_CHECKPOINT` when it holds anything else, or reaches beyond the file. */
  tensorsOf(state: PickleDict): StoredTensor[];
  close(): Promise<void>;
}

/** Where the bytes of a storage lie. */
interface Place {
  start: number;
  bytes: number;
}

interface Contents {
  value: PickleValue;
  place(storage: PickleStorage, tensor: string): Place;
}

/** Errors `ERR_CHECKPOINT` of a file that holds nothing that can be read here. */
export function notTorch(file: string, what: string, tensor?: string, cause?: unknown): EmoframeError {
  return new EmoframeError('ERR_CHECKPOINT', `${file} is not a PyTorch checkpoint that can be read: ${what}.`, {
    file,
    tensor,
    cause,
  });
}

async function readArchive(file: OpenFile): Promise<Contents> {
  const { path } = file;
  const entries = await readZipEntries(file, (reason, cause) => notTorch(path, reason, undefined, cause));
  const pickle = [...entries.values()].find(({ name }) => /^(?:.*\/)?data\.pkl$/.test(name));
  if (!pickle) throw notTorch(path, 'the archive has no data.pkl');
  if (pickle.bytes > pickleLimitBytes) throw notTorch(path, `its data.pkl has ${pickle.bytes} bytes`);
  const folder = pickle.name.slice(0, -'data.pkl'.length);
  const order = entries.get(`${folder}byteorder`);
  // Six letters at most: `little` or `big`.
  if (order && (order.bytes > 6 || new TextDecoder().decode(await file.read(order.start, order.bytes)) !== 'little')) {
    throw notTorch(path, 'it was saved on a big-endian machine');
  }
  return {
    value: (await unpickle(await file.read(pickle.start, pickle.bytes), path)).value,
    place: ({ key }, tensor) => {
      const entry = entries.get(`${folder}data/${key}`);
      if (!entry) throw notTorch(path, `the storage ${key} of tensor ${tensor} is missing`, tensor);
      return entry;
    },
  };
}

/** The pickles after the magic number of a stream of before 1.6. */
type StreamStart = Record<'version' | 'machine' | 'saved' | 'keys', Unpickled>;

/** Nothing but the pickles themselves says how long they are, so ever more of the file is read until they are complete. */
async function readStreamStart(file: OpenFile): Promise<StreamStart> {
  const { path } = file;
  const most = Math.min(file.size, pickleLimitBytes);
  for (let length = Math.min(most, 1 << 20); ; length = Math.min(most, 8 * length)) {
    const bytes = await file.read(0, length);
    try {
      const magic = await unpickle(bytes, path);
      const version = await unpickle(bytes, path, { start: magic.end });
      const machine = await unpickle(bytes, path, { start: version.end });
      const saved = await unpickle(bytes, path, { start: machine.end });
      return { version, machine, saved, keys: await unpickle(bytes, path, { start: saved.end }) };
    } catch (error) {
      // Perhaps because too little was read.
      if (!(error instanceof EmoframeError) || error.code !== 'ERR_PICKLE' || length === most) throw error;
    }
  }
}

async function readStream(file: OpenFile): Promise<Contents> {
  const { path, size } = file;
  if (Buffer.from(await file.read(0, Math.min(size, 64))).indexOf(legacyMagic) < 0) {
    throw notTorch(path, 'it is a pickle, but not from PyTorch');
  }
  const { version, machine, saved, keys } = await readStreamStart(file);
  if (version.value !== legacyVersion) throw notTorch(path, `it is of version ${shown(version.value)}`);
  if (machine.value instanceof Map && machine.value.get('little_endian') === false) {
    throw notTorch(path, 'it was saved on a big-endian machine');
  }
  if (!Array.isArray(keys.value)) throw notTorch(path, 'it does not list its storages');
  if (keys.value.length > mostStorages) throw notTorch(path, `it lists ${keys.value.length} storages`);
  const places = new Map<string, Place>();
  let at = keys.end;
  for (const key of keys.value) {
    const storage = typeof key === 'string' ? saved.storages.get(key) : undefined;
    if (storage === undefined) throw notTorch(path, 'it lists a storage that no tensor uses');
    if (places.has(storage.key)) throw notTorch(path, `it lists the storage ${storage.key} twice`);
    if (size - at < 8) throw notTorch(path, `it ends before storage ${storage.key}`);
    const count = new DataView((await file.read(at, 8)).buffer).getBigUint64(0, true);
    const bytes = storage.count * bytesPerElement[storage.type];
    if (count !== BigInt(storage.count) || bytes > size - at - 8) {
      throw notTorch(
        path,
        `its storage ${storage.key} should have ${storage.count} elements, but has ${count} or fewer`,
      );
    }
    places.set(storage.key, { start: at + 8, bytes });
    at += 8 + bytes;
  }
  return {
    value: saved.value,
    place: ({ key }, tensor) => {
      const place = places.get(key);
      if (place === undefined) throw notTorch(path, `the storage ${key} of tensor ${tensor} is missing`, tensor);
      return place;
    },
  };
}

/** Elements of a view, all of them checked to lie inside its storage. */
function checkedCount(path: string, name: string, { storage, offset, shape, strides }: PickleTensor): number {
  let count = 1;
  let last = offset;
  for (const [axis, extent] of shape.entries()) {
    count *= extent;
    last += (extent - 1) * strides[axis]!;
  }
  if (count === 0) return 0;
  // Expanded views (stride 0) of a small storage could ask for any amount of memory; saved weights never are.
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(last) || last >= storage.count || count > storage.count) {
    throw notTorch(
      path,
      `tensor ${name} (offset ${offset}, shape [${shape.join(', ')}], strides [${strides.join(', ')}]) reaches beyond its storage of ${storage.count} elements`,
      name,
    );
  }
  return count;
}

function isContiguous({ shape, strides }: PickleTensor): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** Elements that are copied without a break: a fraction of a millisecond. */
const gatheredAtOnce = 1 << 16;

/** Copies a strided view into row-major order. */
async function gather(
  values: Float32Array,
  { offset, shape, strides }: PickleTensor,
  target: Float32Array,
): Promise<void> {
  const position = new Array<number>(shape.length).fill(0);
  let source = offset;
  for (let at = 0; at < target.length; at++) {
    if (at % gatheredAtOnce === 0) await yieldWhenDue();
    target[at] = values[source]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      source += strides[axis]!;
      position[axis] = position[axis]! + 1;
      if (position[axis]! < shape[axis]!) break;
      source -= shape[axis]! * strides[axis]!;
      position[axis] = 0;
    }
  }
}

function storedTensor(file: OpenFile, name: string, tensor: PickleTensor, count: number, place: Place): StoredTensor {
  const { path } = file;
  const { type, count: stored } = tensor.storage;
  if (stored * bytesPerElement[type] > place.bytes) {
    throw notTorch(
      path,
      `tensor ${name} says that its storage has ${stored} elements, but it has ${place.bytes} bytes`,
      name,
    );
  }
  const whole = count === 0 || isContiguous(tensor);
  return {
    name,
    shape: [...tensor.shape],
    read: async (into) => {
      if (whole) {
        const start = place.start + tensor.offset * bytesPerElement[type];
        return readElements(file, name, type, start, count, into);
      }
      const values = await readElements(file, name, type, place.start, stored);
      const data = roomFor(count, into, () => allocate(count, path, name));
      await gather(values, tensor, data);
      return data;
    },
  };
}

/**
 * Opens a file that `torch.save` wrote, in either of its forms. Its pickle is read as data only, so a hostile file can do
 * nothing. Tensors become float32 and are read one at a time.
 *
 * Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`, `ERR_PICKLE` (asks for anything that no checkpoint has), `ERR_CHECKPOINT` (not such
 * a file).
 *
 * @example
 * const file = await openTorch('model/pytorch_model.bin');
 * if (file.value instanceof Map) for (const { name, read } of file.tensorsOf(file.value)) console.log(name, await read());
 */
export async function openTorch(path: string): Promise<TorchFile> {
  const file = await OpenFile.open(path, damaged(path));
  const { size } = file;
  return orClose(file, async () => {
    const [first] = await file.read(0, Math.min(1, size));
    const { value, place } = await (first === 0x80 ? readStream : readArchive)(file);
    const tensorsOf = (state: PickleDict): StoredTensor[] => {
      const tensors: StoredTensor[] = [];
      if (state.size > mostTensors) throw notTorch(path, `it has ${state.size} tensors, more than ${mostTensors}`);
      let total = 0;
      for (const [name, tensor] of state) {
        if (typeof name !== 'string' || !(tensor instanceof PickleTensor)) {
          throw notTorch(path, `its entry ${String(name)} is not a tensor; save model.state_dict() only`);
        }
        const count = checkedCount(path, name, tensor);
        // Many names for one storage cost a file nothing, and memory each time; tied weights need a few. Of a view that is not in one
        // piece all of the storage is read.
        total += count === 0 || isContiguous(tensor) ? count : tensor.storage.count;
        if (total > 4 * size)
          throw notTorch(path, `its tensors have ${total} elements or more, far beyond its ${size} bytes`);
        tensors.push(storedTensor(file, name, tensor, count, place(tensor.storage, name)));
      }
      return tensors;
    };
    return { value, tensorsOf, close: () => file.close() };
  });
}
