// The safetensors format: 8 bytes of header length (little-endian), a JSON header of name → {dtype, shape, data_offsets},
// then the tensors' bytes, without gaps or overlaps. https://huggingface.co/docs/safetensors
import type { FileHandle } from 'node:fs/promises';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { streamFileAtomic, writeFully } from '../files/atomic.js';
import { parseJson } from '../files/json.js';
import { OpenFile, orClose } from '../files/read.js';
import { byName, describeIssues } from '../issues.js';
import { newFloats } from '../model/floats.js';
import { elementsOf, type StoredTensor, type Tensor } from '../model/tensor.js';
import { yieldWhenDue } from '../yield.js';
import { bytesPerElement, isStoredType, readElements, type StoredType } from './dtypes.js';
import { damaged } from './failures.js';

/** The format's own limit. */
const headerLimitBytes = 100_000_000;
/** The largest public models have some thousand tensors a file. */
const mostTensors = 100_000;
/** Of an entry: it, its dtype, its shape and offsets and their numbers; 5 axes more than weights have. */
const valuesPerEntry = 16;

const index = z.int().nonnegative();
const entrySchema = z.strictObject({
  dtype: z.string(),
  shape: z.array(index).max(16),
  data_offsets: z.tuple([index, index]),
});
const metadataSchema = byName(z.string());

interface Entry {
  name: string;
  type: StoredType;
  shape: number[];
  count: number;
  /** Byte range within the data part. */
  begin: number;
  end: number;
}

interface Header {
  metadata: Record<string, string>;
  /** In the order of their bytes. */
  entries: Entry[];
  /** Where the data part starts. */
  dataStart: number;
}

function malformed(path: string, what: string, tensor?: string, cause?: unknown): EmoframeError {
  return new EmoframeError('ERR_CHECKPOINT', `${path} is not a valid safetensors file: ${what}.`, {
    file: path,
    tensor,
    cause,
  });
}

/** The number of elements, or undefined when it is no exact integer. */
function elements(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const extent of shape) {
    count *= extent;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

function parseEntry(path: string, name: string, value: unknown): Entry {
  const parsed = entrySchema.safeParse(value);
  if (!parsed.success) {
    throw malformed(path, `the header entry of tensor ${name}: ${describeIssues(parsed.error)}`, name);
  }
  // Written again it would be another name, perhaps that of another tensor.
  if (!name.isWellFormed()) throw malformed(path, `the name of tensor ${name} is not valid Unicode`, name);
  const { dtype, shape, data_offsets } = parsed.data;
  if (!isStoredType(dtype)) {
    throw new EmoframeError(
      'ERR_CHECKPOINT',
      `Tensor ${name} in ${path} has dtype ${dtype}; convert it to one of ${Object.keys(bytesPerElement).join(', ')}.`,
      { file: path, tensor: name },
    );
  }
  const [begin, end] = data_offsets;
  const count = elements(shape);
  if (count === undefined || end - begin !== count * bytesPerElement[dtype]) {
    throw malformed(
      path,
      `tensor ${name} has shape [${shape.join(', ')}] of ${dtype} but byte range ${begin}..${end}`,
      name,
    );
  }
  return { name, type: dtype, shape, count, begin, end };
}

async function readHeader(file: OpenFile, most: number): Promise<Header> {
  const { path, size } = file;
  if (size < 8) throw malformed(path, `it has ${size} bytes, less than the 8 of the header's length`);
  const length = new DataView((await file.read(0, 8)).buffer).getBigUint64(0, true);
  if (length > BigInt(headerLimitBytes)) {
    throw malformed(path, `its header would be ${length} bytes long; at most ${headerLimitBytes} are allowed`);
  }
  const dataStart = 8 + Number(length);
  if (dataStart > size) throw malformed(path, `its header should end at byte ${dataStart}, the file at ${size}`);
  const bytes = await file.read(8, Number(length));

  let json: unknown;
  try {
    // The format forbids a name twice, as readers would differ in which tensor it is.
    json = await parseJson(bytes, { values: valuesPerEntry * most, unique: true });
  } catch (error) {
    throw malformed(path, `its header is not JSON (${(error as Error).message})`, undefined, error);
  }
  // The format asks for an opening brace as the very first byte.
  if (bytes[0] !== 0x7b || typeof json !== 'object' || json === null) {
    throw malformed(path, 'its header is not a JSON object');
  }

  let metadata: Record<string, string> = {};
  const entries: Entry[] = [];
  const described = Object.entries(json);
  if (described.length > most + 1) throw malformed(path, `it has ${described.length} tensors, more than ${most}`);
  for (const [name, value] of described) {
    // A file of labels has an entry an utterance.
    await yieldWhenDue();
    if (name !== '__metadata__') {
      entries.push(parseEntry(path, name, value));
      continue;
    }
    const parsed = metadataSchema.safeParse(value);
    if (!parsed.success) throw malformed(path, `its __metadata__: ${describeIssues(parsed.error)}`);
    metadata = parsed.data;
  }

  if (!isInOrder(entries)) entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  for (const entry of entries) {
    if (entry.begin !== end) {
      const what = entry.begin < end ? 'overlaps the one before it' : `leaves a hole at byte ${end}`;
      throw malformed(path, `tensor ${entry.name} ${what}`, entry.name);
    }
    end = entry.end;
  }
  if (end !== size - dataStart) {
    const what = end > size - dataStart ? 'it is cut short' : 'it has bytes that belong to no tensor';
    throw malformed(path, `its header describes ${end} bytes of tensors, the file has ${size - dataStart}: ${what}`);
  }
  return { metadata, entries, dataStart };
}

/** As writers leave them: most files need no sorting, which holds the event loop where there are many. */
function isInOrder(entries: readonly Entry[]): boolean {
  return entries.every(({ begin }, i) => i === 0 || begin >= entries[i - 1]!.end);
}

/** An open safetensors file, whose tensors are read one at a time. */
export interface SafetensorsFile {
  metadata: Record<string, string>;
  /** In the order of their bytes. */
  tensors: StoredTensor[];
  close(): Promise<void>;
}

/**
 * Opens a safetensors file and checks its whole header, before any tensor is read. Errors: as {@link readSafetensors},
 * those of reading by the tensors' `read`.
 */
export async function openSafetensors(path: string, most = mostTensors): Promise<SafetensorsFile> {
  const file = await OpenFile.open(path, damaged(path));
  return orClose(file, async () => {
    const { metadata, entries, dataStart } = await readHeader(file, most);
    const tensors = entries.map(({ name, type, shape, begin, count }) => ({
      name,
      shape,
      read: (into?: Float32Array) => readElements(file, name, type, dataStart + begin, count, into),
    }));
    return { metadata, tensors, close: () => file.close() };
  });
}

/**
 * Reads a safetensors file: F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL, all as float32 (integers beyond 2^24 are
 * rounded). F32 goes straight from the file into the result, so peak memory is the result.
 *
 * Errors: `ERR_FILE_NOT_FOUND`, `ERR_READ`, `ERR_CHECKPOINT` (anything that the format forbids), `ERR_CHECKPOINT_DAMAGED`
 * (the file shrank while being read).
 *
 * @example
 * const { tensors } = await readSafetensors('model/model.safetensors');
 * tensors.get('masked_spec_embed')?.shape; // [768]
 */
export function readSafetensors(
  path: string,
): Promise<{ metadata: Record<string, string>; tensors: Map<string, Tensor> }> {
  return readTensors(path, mostTensors);
}

/** The same of a file that may have so many tensors: our own of labels have one an utterance. */
export async function readTensors(
  path: string,
  most: number,
): Promise<{ metadata: Record<string, string>; tensors: Map<string, Tensor> }> {
  const file = await openSafetensors(path, most);
  try {
    const tensors = new Map<string, Tensor>();
    for (const { name, shape, read } of file.tensors) tensors.set(name, { name, shape, data: await read() });
    return { metadata: file.metadata, tensors };
  } finally {
    await file.close();
  }
}

const inOrderOfNames = (a: { name: string }, b: { name: string }): number =>
  a.name < b.name ? -1 : a.name > b.name ? 1 : 0;

/**
 * The front of a safetensors file, which is its header, padded to 8 bytes; and the tensors, sorted by name, so that equal tensors
 * give equal files. Errors: `ERR_TENSOR`.
 */
function layOut(
  tensors: Iterable<Tensor | StoredTensor>,
  metadata: Record<string, string>,
): { head: Uint8Array; sorted: (Tensor | StoredTensor)[] } {
  const sorted = [...tensors].sort(inOrderOfNames);
  // transformers asks for the framework that wrote the file and knows `pt`.
  const described = Object.entries({ format: 'pt', ...metadata }).sort(([a], [b]) => (a < b ? -1 : 1));
  const header: [string, unknown][] = [['__metadata__', Object.fromEntries(described)]];
  let end = 0;
  let previous: string | undefined;
  for (const tensor of sorted) {
    const { name, shape } = tensor;
    if (name === previous || name === '__metadata__') {
      throw new EmoframeError('ERR_TENSOR', `Two tensors of one file cannot both be named ${name}; rename one.`, {
        tensor: name,
      });
    }
    previous = name;
    if ('data' in tensor) checkCount(tensor, tensor.data);
    const bytes = 4 * elementsOf(tensor);
    header.push([name, { dtype: 'F32', shape, data_offsets: [end, end + bytes] }]);
    end += bytes;
  }
  // Built from pairs: an object would move names that look like integers to the front.
  const json = `{${header.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
  const encoded = new TextEncoder().encode(json);
  const padded = Math.ceil(encoded.length / 8) * 8;
  const head = new Uint8Array(8 + padded).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(encoded, 8);
  return { head, sorted };
}

function checkCount({ name, shape }: { name: string; shape: readonly number[] }, data: Float32Array): void {
  if (elements(shape) === data.length) return;
  throw new EmoframeError(
    'ERR_TENSOR',
    `Tensor ${name} has shape [${shape.join(', ')}] but ${data.length} values; give as many as the shape says.`,
    { tensor: name },
  );
}

/**
 * The bytes of a safetensors file, part by part: header, then each tensor. Stored tensors are read one after another into the same
 * memory, so a part must be used up before the next is asked for. Errors: `ERR_TENSOR`, and what reading throws.
 */
export async function* safetensorsBytes(
  tensors: Iterable<Tensor | StoredTensor>,
  metadata: Record<string, string> = {},
): AsyncGenerator<Uint8Array, void, void> {
  const { head, sorted } = layOut(tensors, metadata);
  yield head;
  const largest = sorted.reduce((most, tensor) => Math.max(most, elementsOf(tensor)), 0);
  const memory = newFloats(largest);
  for (const tensor of sorted) {
    const given = 'read' in tensor ? await tensor.read(memory) : tensor.data;
    checkCount(tensor, given);
    // Nobody else may take away what is being written.
    const data = given.buffer === memory.buffer ? given : memory.subarray(0, given.length);
    if (data !== given) data.set(given);
    yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
}

/**
 * Writes tensors as float32, atomically and always in the same order, so that transformers and PyTorch read them. Those that
 * are stored are read one after another into the same memory. `metadata` joins `{ format: 'pt' }`. Errors: `ERR_WRITE`,
 * `ERR_TENSOR` (same name twice, or shape and values disagree), and what reading stored ones throws.
 *
 * @example
 * await writeSafetensors('centroids.safetensors', [{ name: 'centroids', shape: [50, 768], data }]);
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<Tensor | StoredTensor>,
  metadata: Record<string, string> = {},
): Promise<void> {
  const write = async (handle: FileHandle) => {
    for await (const part of safetensorsBytes(tensors, metadata)) await writeFully(handle, part);
  };
  await streamFileAtomic(path, write, { followLink: true });
}
