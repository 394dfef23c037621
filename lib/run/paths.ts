import { join } from 'node:path';
import type { StageName } from './stages.js';

/** Where one stage of one fold keeps what it makes. */
export interface StagePaths {
  dir: string;
  /** The last two checkpoints while the stage trains; gone when it is done. */
  checkpoint: string;
  /** The stage's result, a `savePretrained` directory. */
  model: string;
  /** Cluster ids a frame: one tensor `[T]` an utterance, by its id. */
  labels: string;
  /** `centroids` `[K, hidden]`, with the layer in the metadata. */
  centroids: string;
  metrics: string;
  /** All that the stage may leave for others to read: files, and folders of files. */
  results: string[];
  /** Exists when the stage is finished. */
  done: string;
}

/** `OUT/folds/FOLD` and what lies in it. */
export class FoldPaths {
  constructor(readonly dir: string) {}

  stage(name: StageName): StagePaths {
    const dir = join(this.dir, name);
    const model = join(dir, 'model');
    const labels = join(dir, 'labels.safetensors');
    const centroids = join(dir, 'centroids.safetensors');
    const metrics = join(dir, 'metrics.json');
    const rows = name === 'evaluate' ? [this.rows('predictions'), this.rows('baseline')] : [];
    return {
      dir,
      checkpoint: join(dir, 'checkpoint'),
      model,
      labels,
      centroids,
      metrics,
      results: [model, labels, centroids, metrics, ...rows],
      done: join(dir, 'done.json'),
    };
  }

  /** What `emoframe predict --model` takes. */
  get predictor(): string {
    return join(this.dir, 'predictor');
  }

  /** One row an utterance of the test session, by stage 4 (`predictions`) or stage 1b (`baseline`). */
  rows(which: 'predictions' | 'baseline'): string {
    return join(this.dir, 'evaluate', `${which}.jsonl`);
  }
}
