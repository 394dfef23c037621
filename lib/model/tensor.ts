/** A named tensor in transformers' layout, row-major. */
export interface Tensor {
  name: string;
  shape: number[];
  data: Float32Array;
}

/** AdamW's first and second moments of one tensor, in the tensor's own layout. */
export interface Moments {
  name: string;
  m: Float32Array;
  v: Float32Array;
}
