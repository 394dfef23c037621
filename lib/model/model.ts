import type { NativeModel } from '../../binding.js';
import { EmoframeError } from '../errors.js';
import { groupBy } from '../lists.js';
import type {
  AlignmentOptions,
  ClassifierOptions,
  ClassifyResult,
  EncodeResult,
  FrameRanges,
  MemoryPlan,
  OptimizerOptions,
  PackedBatch,
  PlannedWork,
  Precision,
  TensorInfo,
  TrainStepOptions,
  TrainStepResult,
  WindowMoments,
} from './binding.js';
import { native, nativeSync } from './binding.js';
import { newFloats, roomFor } from './floats.js';
import { Geometry } from './geometry.js';
import type { HubertConfig } from './hubertConfig.js';
import { initialTensors } from './initialize.js';
import { elementsOf, readInto, type StoredMoments, type StoredTensor, type Tensor } from './tensor.js';

/** What a model is made of. */
export interface ModelSpec {
  config: HubertConfig;
  precision: Precision;
  /** Pretraining head: projection to `dimension` (256) and label embeddings; logits are cosines over `temperature` (0.1). */
  maskedPrediction?: { clusters: number; dimension?: number; temperature?: number };
  /** Utterance classifier, or regression, over pooled frames. */
  classifier?: ClassifierOptions;
  /** Frame logits from what is near, and forward-backward over islands of emotion. */
  alignment?: AlignmentOptions;
}

export interface ImportOptions {
  /** Tensors that may be missing: all, or those whose names start with one of these. */
  allowMissing?: boolean | string[];
  /** Where they were read, for messages. */
  file?: string;
}

/** 16 MiB. */
const partElements = 1 << 22;

/** HuBERT with its heads on an engine's device. Made by {@link Engine.createModel}. */
export class Model {
  readonly geometry: Geometry;
  /** The last call of training. */
  #training: Promise<unknown> = Promise.resolve();
  #frozen: readonly string[] = [];

  constructor(
    readonly spec: ModelSpec,
    private readonly nativeModel: NativeModel,
  ) {
    this.geometry = new Geometry(spec.config.shape);
  }

  get config(): HubertConfig {
    return this.spec.config;
  }

  /** Names (transformers') and shapes of all tensors, heads included. */
  tensors(): TensorInfo[] {
    return this.nativeModel.tensors();
  }

  /**
   * Random weights as transformers and fairseq draw them, heads included; a pure function of `seed`.
   *
   * @param wanted says which tensors by name; the others stay as they are.
   */
  async initialize(seed: number, wanted?: (name: string) => boolean): Promise<void> {
    await this.importTensors(initialTensors(this.tensors(), seed, wanted), { allowMissing: true });
  }

  /**
   * Sets weights by name. Names and shapes are checked before the first is set; tensors that are stored are read one after
   * another into the same memory.
   *
   * @throws EmoframeError `ERR_TENSOR` naming a tensor that is missing, unknown or of the wrong shape
   */
  async importTensors(tensors: Iterable<Tensor | StoredTensor>, options: ImportOptions = {}): Promise<void> {
    const { allowMissing = false, file } = options;
    const refuse = (tensor: string, message: string): never => {
      const said = file === undefined ? message : `${file}: ${message}`;
      throw new EmoframeError('ERR_TENSOR', said, { tensor, file });
    };
    const wanted = new Map(this.tensors().map((info) => [info.name, info]));
    const given: Tensor[] = [];
    const stored: StoredTensor[] = [];
    for (const tensor of tensors) {
      const info = wanted.get(tensor.name);
      if (!info) return refuse(tensor.name, `The model has no tensor named ${tensor.name}.`);
      if (info.shape.length !== tensor.shape.length || info.shape.some((side, i) => side !== tensor.shape[i]))
        refuse(
          tensor.name,
          `Tensor ${tensor.name} has shape [${tensor.shape.join(', ')}] where the model needs [${info.shape.join(', ')}].`,
        );
      wanted.delete(tensor.name);
      if ('read' in tensor) stored.push(tensor);
      else given.push(tensor);
    }
    const missing = [...wanted.keys()].filter((name) =>
      Array.isArray(allowMissing) ? !allowMissing.some((prefix) => name.startsWith(prefix)) : !allowMissing,
    );
    const [first] = missing;
    if (first !== undefined)
      refuse(
        first,
        `${missing.length} tensors are missing: ${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ', …' : ''}.`,
      );
    await native(() => this.nativeModel.importTensors(given.map(({ name, data }) => ({ name, data }))));
    await this.#importStored(stored);
  }

  /** As many at a time as fit into one array, which serves all of them. */
  async #importStored(stored: StoredTensor[]): Promise<void> {
    const memory = memoryFor(stored, elementsOf);
    for (const part of groupBy(stored, elementsOf, memory.length)) {
      const read = await readInto(memory, part);
      await native(() => this.nativeModel.importTensors(read.map(({ name, data }) => ({ name, data }))));
    }
  }

  /**
   * All tensors in transformers' layout, each copied from the device when it is read: a reader that reuses its memory never
   * holds a whole model. Training in between changes what is read.
   *
   * @example
   * await writeSafetensors('weights.safetensors', model.storedTensors());
   */
  storedTensors(): StoredTensor[] {
    return this.tensors().map((info) => this.#stored(info, 'weights'));
  }

  #stored(info: TensorInfo, part: 'weights' | 'm' | 'v'): StoredTensor {
    return {
      name: info.name,
      shape: info.shape,
      read: async (into) => {
        const data = roomFor(elementsOf(info), into);
        const copy = await native(() => this.nativeModel.readTensor(info.name, part, data));
        return copy === undefined ? data : copyInto(data, copy, info.name);
      },
    };
  }

  /** Copies of all tensors, or of those named, in transformers' layout. */
  async exportTensors(names?: string[]): Promise<Tensor[]> {
    const all = new Map(this.storedTensors().map((tensor) => [tensor.name, tensor]));
    const wanted = (names ?? [...all.keys()]).map((name) => {
      const tensor = all.get(name);
      if (!tensor) throw new EmoframeError('ERR_TENSOR', `The model has no tensor named ${name}.`, { tensor: name });
      return tensor;
    });
    // All are asked for at once, so nothing changes the model between them.
    return Promise.all(wanted.map(async ({ name, shape, read }) => ({ name, shape, data: await read() })));
  }

  /** Gradients accumulated since the last optimiser step. */
  async exportGradients(): Promise<Tensor[]> {
    return native(() => this.nativeModel.exportGradients());
  }

  /** AdamW's moments, each copied from the device when it is read; none before the first step. */
  async storedMoments(): Promise<StoredMoments[]> {
    if (!(await native(() => this.nativeModel.hasMoments()))) return [];
    return this.tensors().map((info) => ({
      name: info.name,
      m: this.#stored(info, 'm'),
      v: this.#stored(info, 'v'),
    }));
  }

  /** Sets moments by name, read one after another into the same memory. */
  async importMoments(moments: StoredMoments[]): Promise<void> {
    const elementsOfBoth = ({ m }: StoredMoments) => 2 * elementsOf(m);
    const memory = memoryFor(moments, elementsOfBoth);
    for (const part of groupBy(moments, elementsOfBoth, memory.length)) {
      const read = await readInto(
        memory,
        part.flatMap(({ m, v }) => [m, v]),
      );
      // `read` has two tensors for each of `part`.
      const pairs = part.map(({ name }, i) => ({ name, m: read[2 * i]!.data, v: read[2 * i + 1]!.data }));
      await native(() => this.nativeModel.importMoments(pairs));
    }
  }

  /**
   * For a model that will only be run: weights that only matrix products read are kept once, in the form that these read,
   * which halves the memory of a model. They can then no longer be set, exported or trained.
   */
  async packForInference(): Promise<void> {
    await native(() => this.nativeModel.packForInference());
  }

  /** Tensors whose names start with one of these are neither given gradients nor updated. Replaces the earlier list. */
  freeze(prefixes: string[]): void {
    nativeSync(() => this.nativeModel.freeze(prefixes));
    this.#frozen = [...prefixes];
  }

  /** Whether any tensor whose name starts so is trained, that is, not frozen. */
  trains(prefix: string): boolean {
    const frozen = (name: string) => this.#frozen.some((beginning) => name.startsWith(beginning));
    return this.tensors().some(({ name }) => name.startsWith(prefix) && !frozen(name));
  }

  /**
   * What work will take of the device's memory at its most, by kind. It is gone through as it will be done, but nothing is
   * computed or taken: this costs milliseconds.
   *
   * @throws EmoframeError `ERR_ARGUMENT`
   * @example
   * const work = { frames: 3200, utterances: 10, objective: 'classification', storedFrames: 0, longestStoredFrames: 0 };
   * const { total, available } = await model.plan(work);
   */
  async plan(work: PlannedWork): Promise<MemoryPlan> {
    return native(() => this.nativeModel.plan(work));
  }

  /**
   * Plans, and takes the memory of a pass at once, so that no step has to ask for any.
   *
   * @throws EmoframeError `ERR_OUT_OF_MEMORY` where the device has less than is needed, as {@link plan}
   */
  async prepare(work: PlannedWork): Promise<MemoryPlan> {
    return native(() => this.nativeModel.prepare(work));
  }

  /** Runs the feature encoder over a batch and keeps its output under the given keys, for batches of `features`. */
  async storeFeatures(keys: string[], batch: PackedBatch): Promise<void> {
    await nativeOn({ ...batch, names: keys }, () => this.nativeModel.storeFeatures(keys, batch));
  }

  /** Frames stored under a key, or -1. */
  storedFrames(key: string): number {
    return this.nativeModel.storedFrames(key);
  }

  /** Bytes held by stored features. */
  featureBytes(): number {
    return this.nativeModel.featureBytes();
  }

  clearFeatures(): void {
    this.nativeModel.clearFeatures();
  }

  /**
   * Hidden states `[T, C]` at a layer: 0 is the transformer's input, L the output of layer L; or the model's `output`, which
   * in pre-norm models is the last layer's after the final LayerNorm.
   */
  async encode(batch: PackedBatch, layer: number | 'output'): Promise<EncodeResult> {
    const { layers } = this.config.shape;
    if (layer !== 'output' && (!Number.isInteger(layer) || layer < 0 || layer > layers))
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected an integer from 0 to ${layers} for layer but received ${String(layer)}.`,
      );
    return nativeOn(batch, () => this.nativeModel.encode(batch, layer));
  }

  /**
   * Utterance logits, frame posteriors and pooling weights, and what the alignment head says, with dropout off; of the frames
   * in `kept`, or of all. Only `head` is asked where one is named: what the other would give is then empty.
   */
  async classify(batch: PackedBatch, kept?: FrameRanges, head?: 'classifier' | 'alignment'): Promise<ClassifyResult> {
    return nativeOn(batch, () => this.nativeModel.classify(batch, kept, head));
  }

  /** The alignment network's input `[T, in]`, before it is standardized. */
  async alignmentInput(batch: PackedBatch): Promise<EncodeResult> {
    return nativeOn(batch, () => this.nativeModel.alignmentInput(batch));
  }

  /** Moments of the first convolution's windows, from which its GroupNorm follows. */
  async windowMoments(batch: PackedBatch): Promise<WindowMoments> {
    return nativeOn(batch, () => this.nativeModel.windowMoments(batch));
  }

  /**
   * Forward and backward of one micro-batch; gradients add up until {@link optimizerStep}.
   *
   * An update is best queued whole: on a GPU a pass's inputs then travel while the one before computes. When a pass fails, what
   * was queued behind it is not done and fails with the same error, so that an update is never made of a part of its passes.
   *
   * @example
   * const passes = batches.map((batch, i) => model.trainStep(batch, options[i]));
   * const [{ gradientNorm }, ...results] = await Promise.all([model.optimizerStep(optimizer), ...passes]);
   */
  trainStep(batch: PackedBatch, options: TrainStepOptions): Promise<TrainStepResult> {
    return this.#train(nativeOn(batch, () => this.nativeModel.trainStep(batch, options)));
  }

  /**
   * Outputs `[B, outputs]` of a regression in training, which {@link trainStep} finds too with the same options: with its dropout, of
   * the same `seed` and `step`. The concordance loss is of a whole update: passes that are given each other's outputs as `others`
   * add up to its gradient. Nothing is added to gradients; `targets` are not needed.
   *
   * @throws EmoframeError `ERR_HEAD` when the model has no regression; `ERR_NOT_FINITE`
   * @example
   * // Two passes of one update
   * const outputs = await Promise.all(batches.map((batch, i) => model.trainOutputs(batch, options[i])));
   * const first = { ...options[0], targets: targets[0], others: { outputs: outputs[1], targets: targets[1] } };
   * await model.trainStep(batches[0], first);
   */
  trainOutputs(batch: PackedBatch, options: TrainStepOptions): Promise<Float32Array> {
    return this.#train(nativeOn(batch, () => this.nativeModel.trainOutputs(batch, options)));
  }

  /** Clips, updates with AdamW and clears the gradients. The norm that is clipped is that of all groups. */
  optimizerStep(options: OptimizerOptions): Promise<{ gradientNorm: number }> {
    return this.#train(native(() => this.nativeModel.optimizerStep(options)));
  }

  /** Lets a call that was cancelled reject as the one before it did. */
  #train<Result>(call: Promise<Result>): Promise<Result> {
    const before = this.#training;
    // Whoever awaits this call learns of it.
    before.catch(() => undefined);
    const result = call.catch(async (error: unknown) => {
      if (error instanceof Error && 'cancelled' in error) await before;
      throw error;
    });
    this.#training = result;
    return result;
  }

  async clearGradients(): Promise<void> {
    await native(() => this.nativeModel.clearGradients());
  }

  /** Frees the model's memory; use after it is `ERR_DISPOSED`. */
  dispose(): void {
    this.nativeModel.dispose();
  }
}

/** @throws EmoframeError `ERR_ARGUMENT` when the array to read into lost its memory meanwhile */
function copyInto(target: Float32Array, values: Float32Array, name: string): Float32Array {
  try {
    target.set(values);
    return target;
  } catch (cause) {
    throw new EmoframeError(
      'ERR_ARGUMENT',
      `The array that ${name} was to be read into was detached, or has shrunk, before it was read.`,
      { cause },
    );
  }
}

/** Memory for the largest of some items, and for several small ones at a time. */
function memoryFor<Item>(items: Item[], elements: (item: Item) => number): Float32Array {
  const sizes = items.map(elements);
  const largest = sizes.reduce((most, size) => Math.max(most, size), 0);
  const all = sizes.reduce((sum, size) => sum + size, 0);
  return newFloats(Math.max(largest, Math.min(partElements, all)));
}

/** Work on a batch; what the addon says of "Utterance 3 of the batch" is said of it by name. */
async function nativeOn<Result>({ names, features }: PackedBatch, call: () => Promise<Result>): Promise<Result> {
  const called = names ?? features;
  try {
    return await native(call);
  } catch (error) {
    if (called === undefined || !(error instanceof EmoframeError)) throw error;
    const message = error.message.replace(/\bUtterance (\d+) of the batch\b/g, (whole, index) => {
      const name = called[Number(index)];
      return name === undefined ? whole : `Utterance ${name}`;
    });
    throw new EmoframeError(error.code, message, { cause: error.cause });
  }
}
