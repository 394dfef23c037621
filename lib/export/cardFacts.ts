import type { Normalization } from '../audio/normalize.js';
import type { Head } from '../checkpoint/head.js';
import type { Geometry } from '../model/geometry.js';
import type { Architecture } from './huggingFace.js';
import type { RunRecord } from './runRecord.js';

/** What a card is made of. */
export interface CardFacts {
  name: string;
  format: 'hf' | 'onnx';
  architecture: Architecture;
  head: Head | undefined;
  layers: number;
  hiddenSize: number;
  parameters: number;
  geometry: Geometry;
  normalize: Normalization;
  clusters: boolean;
  record: RunRecord | undefined;
  license: string | undefined;
  baseModel: string | undefined;
}
