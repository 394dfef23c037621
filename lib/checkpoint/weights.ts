// What files of weights have in common, whatever their format: named tensors that are read one at a time, and in some of them
// what the model is.
import type { StoredTensor } from '../model/tensor.js';

/** A model as a file of weights describes it. */
export interface ModelDescription {
  /** As in a `config.json` of transformers. */
  config: Record<string, unknown>;
  /** Whether the model expects audio of zero mean and unit variance per utterance. */
  normalize: boolean;
}

/** An open file of weights. */
export interface OpenWeights {
  /** By the names that they have there. */
  tensors: StoredTensor[];
  /** What the file says of its model, if it does. */
  description?: ModelDescription;
  close(): Promise<void>;
}
