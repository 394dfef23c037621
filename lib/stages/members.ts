// A soup of members (Wortsman et al., 2022): the same start is trained several times, each time with other draws, masks and
// dropout, and weights are averaged over all of them. It is one model, and costs as much as one when it is run.
import { roomFor } from '../model/floats.js';
import type { Model } from '../model/model.js';
import { elementsOf, memoryFor, readInto, type StoredMoments, type Tensor } from '../model/tensor.js';

/** What every member starts from. */
export class MemberStart {
  private constructor(
    private readonly model: Model,
    private readonly weights: readonly Tensor[],
    private readonly frozen: readonly string[],
  ) {}

  /**
   * Copies the weights as they are, but for those whose names begin with one of `frozen`: they stay, and so do features that
   * were made with them.
   */
  static async of(model: Model, frozen: readonly string[]): Promise<MemberStart> {
    const tensors = model.storedTensors().filter(({ name }) => !frozen.some((prefix) => name.startsWith(prefix)));
    return new MemberStart(model, await readInto(memoryFor(tensors), tensors), frozen);
  }

  /** Takes the model back, the optimiser's moments too. */
  async restore(): Promise<void> {
    await this.model.importTensors(this.weights, { allowMissing: [...this.frozen] });
    const none = ({ name, shape }: Tensor) => ({
      name,
      shape,
      read: async (into?: Float32Array) => roomFor(elementsOf({ shape }), into).fill(0),
    });
    await this.model.importMoments(
      this.weights.map((tensor): StoredMoments => {
        return { name: tensor.name, m: none(tensor), v: none(tensor) };
      }),
    );
  }
}
