import type { RunConfig } from '../config/schema.js';
import type { Corpus } from '../corpus/types.js';
import type { StageName } from '../stages/foldPaths.js';

export type { StageName };

/** How far a run has come. */
export interface ProgressEvent {
  fold: string;
  stage: StageName;
  done: number;
  total: number;
  /** What is being done, where a stage does more than train. */
  message?: string;
  metrics?: Record<string, number>;
}

/** Something that went wrong and that the run gets over, such as a damaged checkpoint with a whole one before it. */
export interface RunWarning {
  fold: string;
  stage: StageName;
  message: string;
}

export interface RunOptions {
  corpus: Corpus;
  /** The pretrained model, a Hugging Face directory; absent: from scratch, with the config's `model`. */
  modelDir?: string;
  /** The run directory. */
  out: string;
  config: RunConfig;
  /** `"cpu"` (default) or `"cuda:N"`. */
  device?: string;
  /** In place of the config's. */
  precision?: RunConfig['precision'];
  /** 0 (default): all threads this process may use. */
  threads?: number;
  /** Continue what the directory holds. */
  resume?: boolean;
  /** Only these folds, by name. */
  folds?: readonly string[];
  signal?: AbortSignal;
  onProgress?: (event: ProgressEvent) => void;
  /** Absent: `process.emitWarning`, which writes to stderr. */
  onWarning?: (warning: RunWarning) => void;
}
