import type { Normalization } from '../audio/normalize.js';
import type { Head } from '../checkpoint/head.js';
import type { Geometry } from '../model/geometry.js';
import type { Architecture, FamilyType } from './families.js';
import type { RunRecord } from './runRecord.js';

/** What a card is made of. */
export interface CardFacts {
  name: string;
  format: 'hf' | 'onnx';
  /** Of transformers, where it has one for the encoder. */
  architecture: Architecture | undefined;
  /** The encoder's: as `config.json` says it, and as people do. */
  family: { type: FamilyType; name: string };
  head: Head | undefined;
  layers: number;
  /** Whether layers norm what they read, and the output has a norm of its own. */
  preNorm: boolean;
  hiddenSize: number;
  parameters: number;
  geometry: Geometry;
  normalize: Normalization;
  clusters: boolean;
  /** Tensors of the checkpoint that are not in the export. */
  ignored: readonly string[];
  record: RunRecord | undefined;
  license: string | undefined;
  baseModel: string | undefined;
}
