// `torch.save` of a state dict, the zip form of PyTorch 1.6 and later: `NAME/data.pkl` holds the structure, `NAME/data/KEY`
// the bytes of each storage. Several tensors may be views of one storage.
import type { FileHandle } from 'node:fs/promises';
import { EmoframeError } from '../errors.js';
import type { Tensor } from '../model/tensor.js';
import { allocate, bytesPerElement, readElements } from './dtypes.js';
import { openForReading, readExactly } from './files.js';
import { unpickle } from './pickle.js';
import { PickleTensor } from './pickleValues.js';
import { readZipEntries, type ZipEntry } from './zip.js';

/** A state dict's structure takes some hundred bytes a tensor. */
const pickleLimitBytes = 64 << 20;

function refuse(path: string, what: string, tensor?: string): EmoframeError {
  return new EmoframeError('ERR_CHECKPOINT', `${path} is not a PyTorch checkpoint that can be read: ${what}.`, {
    file: path,
    ...(tensor === undefined ? {} : { tensor }),
  });
}

interface View {
  name: string;
  tensor: PickleTensor;
  count: number;
}

async function bytesOf(handle: FileHandle, path: string, entry: ZipEntry): Promise<Uint8Array> {
  const bytes = new Uint8Array(entry.bytes);
  await readExactly(handle, path, bytes, entry.start);
  return bytes;
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
    throw refuse(
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

/** Copies a strided view into row-major order. */
function gather(values: Float32Array, { offset, shape, strides }: PickleTensor, target: Float32Array): void {
  const position = new Array<number>(shape.length).fill(0);
  let source = offset;
  for (let at = 0; at < target.length; at++) {
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

/** The tensors of a state dict, grouped by the storage that they look at. */
function viewsByStorage(
  path: string,
  size: number,
  pickle: Uint8Array,
): { order: string[]; views: Map<string, View[]> } {
  const state = unpickle(pickle, path);
  if (!(state instanceof Map)) throw refuse(path, 'it does not hold a state dict (a dict of tensors)');
  const order: string[] = [];
  const views = new Map<string, View[]>();
  let total = 0;
  for (const [key, value] of state) {
    if (typeof key !== 'string' || !(value instanceof PickleTensor)) {
      throw refuse(path, `its entry ${String(key)} is not a tensor; save model.state_dict() only`);
    }
    const count = checkedCount(path, key, value);
    // Many names for one storage cost a file nothing, and memory each time; tied weights need a few.
    total += count;
    if (total > 4 * size)
      throw refuse(path, `its tensors have ${total} elements or more, far beyond its ${size} bytes`);
    const sharing = views.get(value.storage.key) ?? [];
    sharing.push({ name: key, tensor: value, count });
    views.set(value.storage.key, sharing);
    order.push(key);
  }
  return { order, views };
}

/**
 * Reads `pytorch_model.bin`: a state dict saved by PyTorch 1.6 or later. Its pickle is read as data only, so a hostile
 * file can do nothing. All dtypes become float32. Storages are read one at a time, so peak memory is the result and one
 * storage.
 *
 * Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`, `ERR_PICKLE` (asks for anything but tensors and containers), `ERR_CHECKPOINT`
 * (not such a file, the legacy form of before 1.6, or tensors beyond their storages).
 *
 * @example
 * const tensors = await readTorch('model/pytorch_model.bin');
 */
export async function readTorch(path: string): Promise<Map<string, Tensor>> {
  const { handle, size } = await openForReading(path);
  try {
    const start = new Uint8Array(Math.min(4, size));
    await readExactly(handle, path, start, 0);
    if (start[0] === 0x80) {
      throw refuse(
        path,
        'it is in the form of before PyTorch 1.6; load it where you trust it with torch.load and save it again, best as safetensors',
      );
    }
    const entries = await readZipEntries(handle, path, size);
    const pickle = [...entries.values()].find(({ name }) => /^(?:.*\/)?data\.pkl$/.test(name));
    if (!pickle) throw refuse(path, 'the archive has no data.pkl');
    if (pickle.bytes > pickleLimitBytes) throw refuse(path, `its data.pkl has ${pickle.bytes} bytes`);
    const folder = pickle.name.slice(0, -'data.pkl'.length);
    const byteOrder = entries.get(`${folder}byteorder`);
    // Six letters at most: `little` or `big`.
    if (
      byteOrder &&
      (byteOrder.bytes > 6 || new TextDecoder().decode(await bytesOf(handle, path, byteOrder)) !== 'little')
    ) {
      throw refuse(path, 'it was saved on a big-endian machine');
    }

    const { order, views } = viewsByStorage(path, size, await bytesOf(handle, path, pickle));
    const found = new Map<string, Tensor>();
    for (const [key, sharing] of views) {
      const entry = entries.get(`${folder}data/${key}`);
      if (!entry) throw refuse(path, `the storage ${key} of tensor ${sharing[0]!.name} is missing`, sharing[0]!.name);
      for (const { name, tensor } of sharing) {
        const { type, count } = tensor.storage;
        if (count * bytesPerElement[type] > entry.bytes) {
          throw refuse(
            path,
            `tensor ${name} says that its storage has ${count} elements, but it has ${entry.bytes} bytes`,
            name,
          );
        }
      }
      await readViews(handle, path, entry, sharing, found);
    }
    return new Map(order.map((name) => [name, found.get(name)!]));
  } finally {
    await handle.close();
  }
}

async function readViews(
  handle: FileHandle,
  path: string,
  entry: ZipEntry,
  sharing: View[],
  found: Map<string, Tensor>,
): Promise<void> {
  for (const { name, tensor, count } of sharing) {
    const { type, count: stored } = tensor.storage;
    let data: Float32Array;
    if (count === 0 || isContiguous(tensor)) {
      data = await readElements(handle, path, name, type, entry.start + tensor.offset * bytesPerElement[type], count);
    } else {
      data = allocate(count, path, name);
      gather(await readElements(handle, path, name, type, entry.start, stored), tensor, data);
    }
    found.set(name, { name, shape: [...tensor.shape], data });
  }
}
