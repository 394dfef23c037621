import type { NativeEngine } from '../../binding.js';
import { onAbort } from '../abort.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import type {
  AlignOptions,
  AlignResult,
  AssignResult,
  GraphUse,
  KMeansResult,
  MemoryUse,
  Precision,
} from './binding.js';
import { binding, native, nativeSync } from './binding.js';
import { checkClassifier } from './classifier.js';
import { availableBytes } from './memory.js';
import { Model, type ModelSpec } from './model.js';
import { gpuPeak } from './peak.js';
import { defaultThreads } from './threads.js';

export interface EngineSettings {
  /** `cpu` (default) or `cuda:N`. */
  device?: string;
  /** Threads to compute with; 0 (default) = all that this process may use, a container's quota of processor time included. */
  threads?: number;
  /**
   * Bytes of the device's memory that may be taken; 0 (default) = all that it has. On the CPU it bounds weights, gradients,
   * moments, activations and stored features, but not JavaScript's own memory.
   */
  memoryLimit?: number;
  /**
   * On a GPU: steps of training and batches of prediction are done as CUDA graphs (default), or operation by operation. It has
   * no influence on results.
   */
  graphs?: boolean;
}

/** k-means as the method does it; see {@link Engine.kmeans}. */
export interface KMeansSettings {
  clusters: number;
  /** Runs side by side, of which the one with the least inertia is kept. */
  restarts: number;
  algorithm: 'lloyd' | 'mini-batch';
  /** Rows in a mini-batch. */
  batchSize: number;
  maxIterations: number;
  /** Stop when the centroids' squared movement is below this share of the columns' mean variance. */
  tolerance: number;
  seed: number;
}

export interface RunControl {
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number, inertia: number) => void) | undefined;
}

/** More than any machine has processors. */
const mostThreads = 1024;

/**
 * A device and the native thread that serves it. Calls are queued and run in order; the event loop stays free.
 *
 * @example
 * const engine = Engine.create({ device: 'cpu' });
 * const model = await engine.createModel({ config, precision: 'fp32' });
 * engine.dispose();
 */
export class Engine {
  private constructor(
    private readonly nativeEngine: NativeEngine,
    /** Bytes of the device's memory that may be taken; 0: all that it has. */
    readonly memoryLimit: number,
  ) {}

  /** @throws EmoframeError `ERR_DEVICE` when the device is not there, naming what is; `ERR_ARGUMENT`. */
  static create(settings: EngineSettings = {}): Engine {
    const threads = settings.threads ?? 0;
    // OpenMP ends the process when the system refuses it threads.
    if (!Number.isInteger(threads) || threads < 0 || threads > mostThreads)
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected an integer from 0 to ${mostThreads} for threads but received ${threads}.`,
      );
    const memoryLimit = settings.memoryLimit ?? 0;
    if (!Number.isSafeInteger(memoryLimit) || memoryLimit < 0)
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected a non-negative integer of bytes for memoryLimit but received ${memoryLimit}.`,
      );
    const device = settings.device ?? 'cpu';
    const options = {
      device,
      threads: threads === 0 ? defaultThreads() : threads,
      memoryLimit,
      graphs: settings.graphs ?? true,
    };
    return new Engine(
      nativeSync(() => binding().createEngine(options)),
      memoryLimit,
    );
  }

  get device(): string {
    return this.nativeEngine.device;
  }

  /** Instruction path in use, e.g. `avx512`. */
  get path(): string {
    return this.nativeEngine.path;
  }

  /** Floating-point operations a second that a GPU could do at most, see `gpuPeak` (lib/model/peak.ts); undefined where that is not known. */
  peakFlops(precision: Precision): number | undefined {
    const index = /^cuda:(\d+)/.exec(this.device)?.[1];
    const gpu = binding()
      .describe()
      .cuda.devices.find((device) => device.index === Number(index));
    return gpu && gpuPeak(gpu, precision);
  }

  /** @throws EmoframeError `ERR_DEVICE_UNSUPPORTED` when the device does not compute in a precision, naming those that it has. */
  requirePrecision(precision: Precision): void {
    const { precisions } = this.nativeEngine;
    if (precisions.includes(precision)) return;
    throw new EmoframeError(
      'ERR_DEVICE_UNSUPPORTED',
      `Device ${this.device} computes in ${precisions.join(' or ')}, but not in ${precision}, which only GPUs have: use precision fp32, which is more exact, or device cuda:N.`,
    );
  }

  /**
   * A model with all weights zero: import tensors or {@link Model.initialize} it.
   *
   * @throws EmoframeError `ERR_MODEL_CONFIG`, `ERR_ARGUMENT`; `ERR_DEVICE_UNSUPPORTED` when the device has not the precision; `ERR_OUT_OF_MEMORY`
   */
  async createModel(spec: ModelSpec): Promise<Model> {
    this.requirePrecision(spec.precision);
    if (spec.classifier) checkClassifier(spec.classifier);
    const head = spec.maskedPrediction;
    const nativeModel = await native(() =>
      this.nativeEngine.createModel({
        shape: spec.config.shape,
        precision: spec.precision,
        ...(head && {
          maskedPrediction: {
            clusters: head.clusters,
            dimension: head.dimension ?? 256,
            temperature: head.temperature ?? 0.1,
          },
        }),
        ...(spec.classifier && { classifier: spec.classifier }),
        ...(spec.alignment && { alignment: spec.alignment }),
      }),
    );
    return new Model(spec, nativeModel);
  }

  /**
   * k-means++ and Lloyd or mini-batch k-means, several restarts at once; deterministic for a seed.
   *
   * @param points `[N, dimension]` row-major; copied at the call, like all arrays, unless they are a result of the engine
   * @throws EmoframeError `ERR_CLUSTERS` (fewer points than clusters), `ERR_ABORTED`
   */
  async kmeans(
    points: Float32Array,
    dimension: number,
    settings: KMeansSettings,
    control: RunControl = {},
  ): Promise<KMeansResult> {
    throwIfAborted(control.signal);
    // Both sides use these at once.
    const cancel = new Int32Array(new SharedArrayBuffer(4));
    const progress = new Float64Array(new SharedArrayBuffer(16));
    const forget = control.signal && onAbort(control.signal, () => Atomics.store(cancel, 0, 1));
    let reported = 0;
    const timer = setInterval(() => {
      const [iterations = 0, inertia = 0] = progress;
      if (iterations === reported) return;
      reported = iterations;
      control.onProgress?.(iterations, settings.maxIterations, inertia);
    }, 100);
    timer.unref();
    try {
      return await native(() => this.nativeEngine.kmeans({ points, dimension, ...settings, cancel, progress }));
    } finally {
      clearInterval(timer);
      forget?.();
    }
  }

  /** The nearest centroid of every row, and the summed squared distance. */
  async assign(points: Float32Array, centroids: Float32Array, dimension: number): Promise<AssignResult> {
    return native(() => this.nativeEngine.assign(points, centroids, dimension));
  }

  /**
   * Forward-backward over islands of emotion, of utterances whose frame logits are known already: those of audio in
   * windows, of which a model's {@link Model.classify} has given `frameLogits`.
   *
   * @param frameLogits `[T, classes]` row-major, utterances end to end
   * @param offsets `[B + 1]` bounds of the utterances' frames, from 0 to T
   * @throws EmoframeError `ERR_ARGUMENT` where sizes do not fit together
   * @example
   * const { logits, occupancies } = await engine.align(frameLogits, Int32Array.of(0, 1500), { neutral: 2, scale: 0.1, switchingCost: 4, bias });
   */
  async align(frameLogits: Float32Array, offsets: Int32Array, options: AlignOptions): Promise<AlignResult> {
    return native(() => this.nativeEngine.align(frameLogits, offsets, options));
  }

  /**
   * Bytes of the device's memory that the engine's models have taken, and how much can still be had. On the CPU that is what
   * the memory limit leaves, or else what the system says it could give to this process.
   */
  async memory(): Promise<MemoryUse> {
    const use = await native(() => this.nativeEngine.memory());
    return { ...use, available: availableBytes(this.device, use.available) };
  }

  /** How steps were done on a GPU: as graphs that were kept, that were made, or operation by operation; and why, if the driver refused graphs. */
  async graphs(): Promise<GraphUse> {
    return native(() => this.nativeEngine.graphs());
  }

  /** Ends the native thread after the call in hand and frees everything, models included. Later calls: `ERR_DISPOSED`. */
  dispose(): void {
    this.nativeEngine.dispose();
  }
}
