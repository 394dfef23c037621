// Where everything of a run directory lies: the one place that knows.
import { basename, dirname, join } from 'node:path';
import { type StageName, stageNames } from './stages.js';

/** In a stage's folder once the stage is finished, beside all that it left. */
export const markName = 'done.json';

/** Where one stage of one fold keeps what it makes. */
export interface StagePaths {
  dir: string;
  /** The last two training states while the stage trains; gone when it is done. */
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
      done: join(dir, markName),
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

/** A run directory and what lies in it. */
export class RunPaths {
  readonly config: string;
  readonly corpus: string;
  readonly folds: string;
  readonly skipped: string;
  readonly log: string;
  readonly summary: string;
  readonly report: string;

  constructor(readonly dir: string) {
    this.config = join(dir, 'config.json');
    this.corpus = join(dir, 'corpus.json');
    this.folds = join(dir, 'folds.json');
    this.skipped = join(dir, 'skipped.json');
    this.log = join(dir, 'log.jsonl');
    this.summary = join(dir, 'summary.json');
    this.report = join(dir, 'report.html');
  }

  tensorboard(fold: string, stage: StageName): string {
    return join(this.dir, 'tensorboard', fold, stage);
  }
  fold(name: string): FoldPaths {
    return new FoldPaths(join(this.dir, 'folds', name));
  }
}

/** Whose model a directory is: of a fold's stage, or, without one, a fold's predictor. */
export interface ModelPlace {
  run: RunPaths;
  fold: string;
  stage?: StageName;
}

/** Where in which run a model lies, from the absolute path of its directory; undefined: not where runs put models. */
export function placeOf(model: string): ModelPlace | undefined {
  for (const folder of [dirname(model), dirname(dirname(model))]) {
    const [run, fold] = [new RunPaths(dirname(dirname(folder))), basename(folder)];
    const paths = run.fold(fold);
    if (model === paths.predictor) return { run, fold };
    const stage = stageNames.find((name) => model === paths.stage(name).model);
    if (stage !== undefined) return { run, fold, stage };
  }
  return undefined;
}
