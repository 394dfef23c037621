// A model directory with a pooled head of any description, with made-up weights, on an encoder of the fixtures.
import { join } from 'node:path';
import { classifierOptions } from '../../dist/checkpoint/head.js';
import { loadPretrained, savePretrained } from '../../dist/index.js';
import { fixtures } from './tinyPredictor.js';

/** Heads of every kind: each pooling, each layer, and together those of published models. */
export const heads = {
  'a sum': { pooling: 'sum' },
  'a maximum': { pooling: 'max' },
  'attentive statistics': { pooling: 'attentive-stats' },
  'layers, a projector and the mean': { pooling: 'mean', layers: { source: 'layers', projector: 12 } },
  'a dense layer on the mean': {
    pooling: 'mean',
    task: 'regression',
    layers: { dense: [{ width: 16, activation: 'tanh' }] },
  },
  'a dense layer on a maximum of projected frames': {
    pooling: 'max',
    task: 'regression',
    layers: { projector: 24, dense: [{ width: 12, activation: 'tanh' }] },
  },
  'attentive statistics, norm and relu': {
    pooling: 'attentive-stats',
    task: 'regression',
    layers: { dense: [{ width: 16, norm: true, activation: 'relu' }] },
  },
  'statistics of layers, two dense layers, no bias': {
    pooling: 'stats',
    layers: {
      source: 'layers',
      dense: [
        { width: 16, activation: 'none' },
        { width: 12, norm: true, activation: 'relu' },
      ],
      bias: false,
    },
  },
  'statistics of projected frames, no bias': { pooling: 'stats', layers: { projector: 12, bias: false } },
  'a norm of the whole output': { pooling: 'mean', layers: { inputNorm: 'utterance', bias: false } },
  'a norm of each frame and attention': {
    pooling: 'attention',
    task: 'regression',
    layers: { inputNorm: 'frame', source: 'layers' },
  },
};

const outputs = 3;

/** Names and shapes of a head's tensors, as binding.d.ts has them. */
function shapesOf({ pooling, source, projector, dense = [], bias = true }, { hiddenSize, layers }) {
  const width = projector ?? hiddenSize;
  const found = [];
  const linear = (name, output, input) => found.push([`${name}.weight`, [output, input]], [`${name}.bias`, [output]]);
  if (source === 'layers') found.push(['layer_weights', [layers + 1]]);
  if (projector) linear('projector', projector, hiddenSize);
  if (!['mean', 'sum', 'max'].includes(pooling)) found.push(['pooling.weight', [width]]);
  if (pooling === 'attentive-stats') linear('pooling.linear', width, width);
  let input = pooling.endsWith('stats') ? 2 * width : width;
  for (const [i, layer] of dense.entries()) {
    linear(`dense.${i}`, layer.width, input);
    if (layer.norm) found.push([`dense.${i}.norm.weight`, [layer.width]], [`dense.${i}.norm.bias`, [layer.width]]);
    input = layer.width;
  }
  linear('classifier', outputs, input);
  return bias ? found : found.slice(0, -1);
}

/** As large as keeps what passes through it of the size that it has. */
const sizeOf = (name, shape) =>
  shape.length === 2 ? 1.5 / Math.sqrt(shape[1]) : name.endsWith('norm.weight') ? 1 : 0.5;

/**
 * `options`: `task`, `pooling` and `layers` of the head; `from`: the encoder's directory; `normalize`: in place of its own.
 */
export async function writeHeadPredictor(dir, { from = join(fixtures, 'encode', 'base'), normalize, ...options }) {
  const loaded = await loadPretrained(from, { head: 'none' });
  const head = { kind: 'classifier', labels: ['arousal', 'dominance', 'valence'], ...options };
  const shapes = shapesOf(classifierOptions({ ...head, tensors: [] }), loaded.config.shape);
  head.tensors = shapes.map(([name, shape], seed) => {
    const count = shape.reduce((product, extent) => product * extent, 1);
    const size = sizeOf(name, shape) * (options.pooling === 'sum' ? 0.2 : 1);
    return {
      name,
      shape,
      data: Float32Array.from({ length: count }, (_, i) => size * Math.sin(i * (7 + seed) + seed)),
    };
  });
  await savePretrained(dir, { ...loaded, normalize: normalize ?? loaded.normalize, head });
  return dir;
}
