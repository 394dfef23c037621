// The weights that a stage keeps: those of its best epoch, or a mean over epochs. They are written when a training state is, since
// writing them at every better epoch would take longer than training a small model.
import { usePretrained } from '../checkpoint/pretrained.js';
import { memoryFor, readInto, type Tensor } from '../model/tensor.js';
import type { StageContext } from './context.js';
import { saveModel } from './models.js';
import type { UtteranceTask } from './utteranceTask.js';
import { isBetter, type Validation } from './validation.js';

/** Where the weights that are kept come from: an epoch, and its validation, where there is any. */
export type Kept = { epoch: number } & Partial<Validation>;

/** Weights of one epoch, and what is known of it. */
export class KeptWeights {
  /** Kept in the training state. */
  readonly state: { best: Kept | null } = { best: null };
  #tensors: readonly Tensor[] = [];
  #memory: Float32Array | undefined;
  #unsaved = false;

  constructor(
    private readonly context: StageContext,
    private readonly task: UtteranceTask,
  ) {}

  /** Takes the model's weights as they are, if they are better than those that are kept; without validation, always. */
  async offer(epoch: number, found: Validation | undefined): Promise<void> {
    if (found !== undefined && this.state.best !== null && !isBetter(found, this.state.best)) return;
    const tensors = this.task.stage.model.storedTensors();
    this.#memory ??= memoryFor(tensors);
    this.replace(await readInto(this.#memory, tensors), { epoch, ...found });
  }

  /** Takes weights in place of those that are kept. */
  replace(tensors: readonly Tensor[], from: Kept): void {
    this.#tensors = tensors;
    this.state.best = from;
    this.#unsaved = true;
  }

  /** The weights, read again where the best epoch lies before a stop. */
  async read(): Promise<readonly Tensor[]> {
    if (this.#tensors.length === 0)
      this.#tensors = await savedWeights(this.context.paths.stage(this.context.stage).model);
    return this.#tensors;
  }

  /** Says more of them: another validation. */
  describe(found: Validation): void {
    Object.assign(this.state.best!, found);
    this.#unsaved = true;
  }

  /** Writes the model with its head, unless it is there. */
  async save(): Promise<void> {
    if (!this.#unsaved) return;
    const { context, task } = this;
    const best = this.state.best!;
    await saveModel(context.paths.stage(context.stage).model, task.stage, this.#tensors, {
      ...task.head,
      ...('calibration' in best && best.calibration !== undefined && { calibration: best.calibration.weights }),
      info: {
        stage: context.stage,
        fold: context.fold.name,
        epoch: best.epoch,
        neutral: context.neutral,
        switchingCost: context.config.evaluate.switchingCost,
      },
    });
    this.#unsaved = false;
  }
}

/** All tensors of a model that was saved. */
async function savedWeights(dir: string): Promise<readonly Tensor[]> {
  return usePretrained(dir, async ({ tensors, head }) => {
    const stored = [...tensors.values()];
    return [...(await readInto(memoryFor(stored), stored)), ...(head?.tensors ?? [])];
  });
}
