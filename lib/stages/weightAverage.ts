// Stochastic weight averaging (Izmailov et al., 2018): late in training, weights wander around a place that is better than most
// points of their way. Their mean over the ends of the last epochs lies there whichever epoch a small validation set happens
// to favour, and costs nothing when the model is run.
import { largestOf } from '../lists.js';
import { newFloats } from '../model/floats.js';
import { elementsOf, memoryFor, readInto, type StoredTensor, type Tensor } from '../model/tensor.js';

/**
 * A running mean of weights, kept on the host.
 *
 * @example
 * const average = new WeightAverage();
 * await average.add(model.storedTensors()); // at the end of each of the last epochs
 * await model.importTensors(average.tensors);
 */
export class WeightAverage {
  #memory: Float32Array | undefined;
  /** Where one tensor of the weights that are added lies meanwhile. */
  #incoming: Float32Array | undefined;
  /** By name: a file may hold them in another order than the model. */
  #tensors = new Map<string, Tensor>();
  #count = 0;

  /** The mean; none before the first weights. The same arrays are changed by {@link add}. */
  get tensors(): readonly Tensor[] {
    return [...this.#tensors.values()];
  }

  /** The mean as a training state takes it. */
  storedTensors(): StoredTensor[] {
    return this.tensors.map(({ name, shape, data }) => ({ name, shape, read: async () => data }));
  }

  /** Weights that it is the mean of. */
  get count(): number {
    return this.#count;
  }

  /** Adds the weights as they are now; always the same tensors. */
  async add(weights: readonly StoredTensor[]): Promise<void> {
    if (this.#count === 0) return this.restore(weights, 1);
    this.#count++;
    this.#incoming ??= newFloats(largestOf(weights.map(elementsOf)));
    for (const weight of weights) {
      const { data: mean } = this.#tensors.get(weight.name)!;
      const data = await weight.read(this.#incoming);
      for (let i = 0; i < mean.length; i++) mean[i] = mean[i]! + (data[i]! - mean[i]!) / this.#count;
    }
  }

  /** Takes up a mean of `count` weights that was kept in a training state. */
  async restore(mean: readonly StoredTensor[], count: number): Promise<void> {
    this.#memory ??= memoryFor(mean);
    const tensors = await readInto(this.#memory, mean);
    this.#tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    this.#count = count;
  }
}
