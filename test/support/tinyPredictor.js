// A predictor directory as the pipeline leaves it, with random weights: for tests of prediction.
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isEncoderName } from '../../dist/checkpoint/names.js';
import { loadPretrained, savePretrained } from '../../dist/checkpoint/pretrained.js';
import { writeSafetensors } from '../../dist/checkpoint/safetensors.js';
import { Engine } from '../../dist/model/engine.js';

export const fixtures = join(dirname(fileURLToPath(import.meta.url)), '..', 'fixtures');
export const labels = ['angry', 'happy', 'neutral', 'sad'];
export const centroidCount = 6;
export const clusterLayer = 1;

/**
 * `options`: `form` is `base` or `large`; `pooling`; `attend: false` makes attention give nothing, so that
 * frames hear only their neighbours; `clusters: false` leaves out the clusters; `temperature` calibrates.
 */
export async function writeTinyPredictor(dir, options = {}) {
  const source = join(fixtures, 'encode', options.form ?? 'base');
  const { config, normalize } = await loadPretrained(source);
  const { pooling = 'attention', attend = true } = options;
  const engine = Engine.create();
  try {
    const spec = { config, precision: 'fp32', classifier: { classes: labels.length, pooling } };
    const model = await engine.createModel(spec);
    await model.initialize(options.seed ?? 3);
    const tensors = await model.exportTensors();
    const heads = tensors
      .filter(({ name }) => !isEncoderName(name))
      // Of a size that makes the classes differ from frame to frame.
      .map((tensor) => ({ ...tensor, data: tensor.data.map((_, i) => 1.5 * Math.sin(7 * i + tensor.data.length)) }));
    const encoder = tensors
      .filter(({ name }) => isEncoderName(name))
      .map((tensor) =>
        attend || !tensor.name.includes('.out_proj.') ? tensor : { ...tensor, data: tensor.data.map(() => 0) },
      );
    const { temperature } = options;
    const calibration = temperature === undefined ? {} : { calibration: { temperature } };
    const head = { kind: 'classifier', labels, pooling, tensors: heads, ...calibration };
    await savePretrained(dir, { config, tensors: encoder, normalize, head });
    if (options.clusters === false) return dir;
    await mkdir(join(dir, 'clusters'), { recursive: true });
    await savePretrained(join(dir, 'clusters'), { config, tensors: encoder, normalize });
    const { hiddenSize } = config.shape;
    const data = Float32Array.from({ length: centroidCount * hiddenSize }, (_, i) => Math.sin(3 * i));
    const centroids = { name: 'centroids', shape: [centroidCount, hiddenSize], data };
    await writeSafetensors(join(dir, 'clusters', 'centroids.safetensors'), [centroids], {
      layer: String(clusterLayer),
    });
    return dir;
  } finally {
    engine.dispose();
  }
}
