// A predictor directory whose head has an alignment network, with or without a pooled classifier beside it, with made-up weights.

import { readHead, writeHead } from '../../dist/checkpoint/head.js';
import { loadPretrained } from '../../dist/index.js';
import { labels, writeTinyPredictor } from './tinyPredictor.js';

export const settings = {
  neutral: 2,
  source: 'features',
  layer: 1,
  chunkFrames: 12,
  contextFrames: 0,
  width: 12,
  halfWidths: [4, 0, 8],
  dropout: 0.1,
  scale: 0.3,
  switchingCost: 2.5,
  melBands: 0,
};

/** Numbers between -1 and 1, the same every time, of another course for every seed. */
const waves = (count, seed) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(1.3 * seed + i * (7 + (seed % 5))));

/** Names, shapes and sizes of a network's weights; norms and biases are near what they begin with. */
function tensorsOf({ source, layer, width, halfWidths, melBands }, { convDim, hiddenSize }) {
  const columns = (source === 'features' ? convDim.at(-1) : hiddenSize) + melBands;
  const found = [];
  const add = (name, shape, make) => {
    const count = shape.reduce((product, extent) => product * extent, 1);
    const values = waves(count, found.length + 1);
    found.push({ name: `alignment.${name}`, shape, data: values.map(make) });
  };
  const norm = (name, size) => {
    add(`${name}.weight`, [size], (value) => 1 + 0.2 * value);
    add(`${name}.bias`, [size], (value) => 0.2 * value);
  };
  const product = (name, shape, size) => {
    add(`${name}.weight`, shape, (value) => size * value);
    add(`${name}.bias`, [shape[0]], (value) => 0.1 * value);
  };
  add('input_mean', [columns], (value) => 0.2 * value);
  add('input_factor', [columns], (value) => 2 + value);
  product('projection', [width, columns], 0.5);
  for (const [i, half] of halfWidths.entries()) {
    norm(`blocks.${i}.norm`, width);
    product(`blocks.${i}.conv`, [width, width, 2 * half + 1], 0.3);
  }
  norm('norm', width);
  product('output', [labels.length, width], 2);
  add('utterance_bias', [labels.length], (value) => value);
  if (source === 'layers') add('layer_weights', [layer + 1], (value) => value);
  return found;
}

/**
 * `options`: those of a tiny predictor, `alignment` what differs from `settings`, `calibration`, and `pooling: null` for a head
 * without a pooled classifier.
 */
export async function writeAlignedPredictor(dir, { alignment = {}, calibration, ...options } = {}) {
  await writeTinyPredictor(dir, { clusters: false, ...options, pooling: options.pooling ?? 'attention' });
  const { config } = await loadPretrained(dir);
  const { pooling, tensors, ...head } = await readHead(dir);
  const described = { ...settings, ...alignment };
  const network = tensorsOf(described, config.shape);
  await writeHead(dir, {
    ...head,
    ...(options.pooling !== null && { pooling }),
    alignment: described,
    ...(calibration && { calibration }),
    tensors: [...(options.pooling === null ? [] : tensors), ...network],
  });
  return dir;
}
