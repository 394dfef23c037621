/** A named tensor in transformers' layout, row-major. */
export interface Tensor {
  name: string;
  shape: number[];
  data: Float32Array;
}
