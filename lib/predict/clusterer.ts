import { join } from 'node:path';
import { checkFinite } from '../checkpoint/finite.js';
import { readSafetensors } from '../checkpoint/safetensors.js';
import { EmoframeError } from '../errors.js';
import { fileExists } from '../files/read.js';
import type { PackedBatch, Precision } from '../model/binding.js';
import type { Engine } from '../model/engine.js';
import { type LoadedModel, loadEncoder } from './loadModel.js';

/** Gives every frame the cluster of stage 2: the nearest centroid at the layer that was clustered. */
export class Clusterer {
  private constructor(
    private readonly engine: Engine,
    /** The model whose hidden states are clustered. */
    readonly loaded: LoadedModel,
    private readonly centroids: Float32Array,
    private readonly layer: number,
  ) {}

  /** The clusters of a predictor directory, or nothing where it has none. */
  static async find(engine: Engine, predictorDir: string, precision: Precision): Promise<Clusterer | undefined> {
    const dir = join(predictorDir, 'clusters');
    const file = join(dir, 'centroids.safetensors');
    if (!(await fileExists(file))) return undefined;
    const { tensors, metadata } = await readSafetensors(file);
    const centroids = tensors.get('centroids');
    const layer = Number.parseInt(metadata.layer ?? '', 10);
    const loaded = await loadEncoder(engine, dir, precision);
    const { layers, hiddenSize } = loaded.model.config.shape;
    if (centroids === undefined || centroids.shape[1] !== hiddenSize) {
      throw new EmoframeError('ERR_TENSOR', `${file} must hold centroids of shape [K, ${hiddenSize}].`, { file });
    }
    if (!(layer >= 0 && layer <= layers)) {
      throw new EmoframeError('ERR_TENSOR', `${file} must name its layer (0 to ${layers}) in its metadata.`, { file });
    }
    await checkFinite([centroids], file, file);
    return new Clusterer(engine, loaded, centroids.data, layer);
  }

  /** i32 `[T]`, of a batch made for the clusterer's model. */
  async clustersOf(batch: PackedBatch): Promise<Int32Array> {
    const { model, memory } = this.loaded;
    return memory.run(batch, false, async () => {
      const { hidden } = await model.encode(batch, this.layer);
      const { labels } = await this.engine.assign(hidden, this.centroids, model.config.shape.hiddenSize);
      return labels;
    });
  }
}
