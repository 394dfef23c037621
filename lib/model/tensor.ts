import { newFloats } from './floats.js';

/** A named tensor in transformers' layout, row-major. */
export interface Tensor {
  name: string;
  shape: number[];
  data: Float32Array;
}

/** A tensor that lies elsewhere, in a file or on an engine's device, until it is read. */
export interface StoredTensor {
  name: string;
  shape: number[];
  /** Its values, in the front of `into` if that is given and has room for them, else in an array of their own. */
  read(into?: Float32Array): Promise<Float32Array>;
}

/** The number of elements that a shape describes. */
export function elementsOf({ shape }: { shape: readonly number[] }): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** AdamW's first and second moments of the tensor `name`, in its layout, where they lie until they are read. */
export interface StoredMoments {
  name: string;
  m: StoredTensor;
  v: StoredTensor;
}

/** Memory that {@link readInto} can read all of these tensors into. */
export function memoryFor(tensors: readonly StoredTensor[]): Float32Array {
  return newFloats(tensors.reduce((sum, tensor) => sum + elementsOf(tensor), 0));
}

/** Reads tensors into `memory`, one behind another: V8 looks for garbage at every large array that is made. */
export async function readInto(memory: Float32Array, tensors: readonly StoredTensor[]): Promise<Tensor[]> {
  const copies: Tensor[] = [];
  let used = 0;
  for (const { name, shape, read } of tensors) {
    const data = await read(memory.subarray(used));
    copies.push({ name, shape, data });
    used += data.length;
  }
  return copies;
}
