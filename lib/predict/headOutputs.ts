// A pooled head from its pooling on, in double: what windows of an utterance pooled together is put through the rest of the head here,
// as native/model puts what it pools of an utterance in one pass.
import type { Head } from '../checkpoint/head.js';
import type { DenseLayer } from '../model/binding.js';

// Of LayerNorm, as native/model has it.
const normEpsilon = 1e-5;

/** A linear layer: `weight` `[outputs, inputs]`, `bias` `[outputs]`. */
interface Linear {
  weight: Float32Array;
  bias: Float32Array | undefined;
}

interface Dense extends Linear, Pick<DenseLayer, 'activation'> {
  norm: { weight: Float32Array; bias: Float32Array } | undefined;
}

/** Dense layers and output of a pooled head. */
export class HeadOutputs {
  readonly #dense: Dense[];
  readonly #output: Linear;
  /** Of what pooling gives: numbers a pooled frame, twice as many with standard deviations. */
  readonly inputs: number;

  constructor({ tensors, layers }: Pick<Head, 'tensors' | 'layers'>) {
    const dataOf = (name: string) => tensors.find((tensor) => tensor.name === name)?.data;
    const linear = (name: string): Linear => ({ weight: dataOf(`${name}.weight`)!, bias: dataOf(`${name}.bias`) });
    this.#dense = (layers?.dense ?? []).map(({ activation, norm }, layer) => ({
      ...linear(`dense.${layer}`),
      activation,
      norm: norm
        ? { weight: dataOf(`dense.${layer}.norm.weight`)!, bias: dataOf(`dense.${layer}.norm.bias`)! }
        : undefined,
    }));
    this.#output = linear('classifier');
    const first = this.#dense.length > 0 ? 'dense.0.weight' : 'classifier.weight';
    this.inputs = tensors.find((tensor) => tensor.name === first)!.shape[1]!;
  }

  /** The outputs `[classes]` of pooled frames `[inputs]`. */
  of(pooled: Float64Array): Float32Array {
    let values = pooled;
    for (const { norm, activation, ...layer } of this.#dense) {
      values = linearOf(layer, values);
      if (norm !== undefined) values = normalized(values, norm);
      values = values.map(activations[activation]);
    }
    return Float32Array.from(linearOf(this.#output, values));
  }

  /** `[classes]`: what a change of the pooled frames changes in the outputs of a head without dense layers. */
  changeBy(difference: Float64Array): Float64Array {
    return linearOf({ weight: this.#output.weight, bias: undefined }, difference);
  }
}

const activations: Record<DenseLayer['activation'], (value: number) => number> = {
  none: (value) => value,
  tanh: Math.tanh,
  relu: (value) => Math.max(value, 0),
};

function linearOf({ weight, bias }: Linear, inputs: Float64Array): Float64Array {
  const width = inputs.length;
  return Float64Array.from({ length: weight.length / width }, (_, row) => {
    let sum = bias?.[row] ?? 0;
    for (let c = 0; c < width; c++) sum += weight[row * width + c]! * inputs[c]!;
    return sum;
  });
}

function normalized(values: Float64Array, { weight, bias }: NonNullable<Dense['norm']>): Float64Array {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  const scale = 1 / Math.sqrt(variance + normEpsilon);
  return values.map((value, c) => (value - mean) * scale * weight[c]! + bias[c]!);
}
