// A predictor directory as the pipeline leaves it, with random weights: for tests of prediction.
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waveformStatistics } from '../../dist/audio/normalize.js';
import { classifierOptions } from '../../dist/checkpoint/head.js';
import { isEncoderName } from '../../dist/checkpoint/names.js';
import { Engine, loadPretrained, packSamples, savePretrained, writeSafetensors } from '../../dist/index.js';
import { loadClassifier } from '../../dist/predict/loadModel.js';
import { generator, speechLike } from './syntheticRun.js';

export const fixtures = join(dirname(fileURLToPath(import.meta.url)), '..', 'fixtures');
export const labels = ['angry', 'happy', 'neutral', 'sad'];
export const dimensions = ['arousal', 'dominance', 'valence'];
export const centroidCount = 6;
export const clusterLayer = 1;

/** Settings of a tiny alignment network, of weights that find emotions here and there. */
export const tinyAlignment = {
  neutral: 2,
  source: 'features',
  layer: 1,
  chunkFrames: 20,
  contextFrames: 6,
  width: 12,
  halfWidths: [2, 3],
  dropout: 0.1,
  scale: 0.5,
  switchingCost: 2,
};

/**
 * `options`: `form` is `base` or `large`, or `from` a model's directory; `pooling` (null: no classifier that pools); `layers`: what
 * its head has besides; `task`: `regression` gives it values of `dimensions`; `alignment`: what its network has in place of
 * `tinyAlignment`; `statisticsOf`: samples whose statistics it keeps; `calibration`; `attend: 0` makes attention give nothing, so that frames see only their neighbours, and a number
 * above 1 makes it give more; `clusters: false` leaves out the clusters.
 */
export async function writeTinyPredictor(dir, options = {}) {
  const source = options.from ?? join(fixtures, 'encode', options.form ?? 'base');
  const { config, normalize } = await loadPretrained(source, { head: 'none' });
  const { pooling = 'attention', attend = 1 } = options;
  const engine = Engine.create();
  try {
    const names = options.task === 'regression' ? dimensions : labels;
    const classes = names.length;
    const described = {
      labels: names,
      ...pick({ pooling, ...options }, ...(pooling === null ? [] : ['pooling']), 'task', 'layers'),
    };
    const alignment = options.alignment && { ...tinyAlignment, ...options.alignment };
    const model = await engine.createModel({
      config,
      precision: 'fp32',
      ...(pooling !== null && { classifier: classifierOptions(described) }),
      ...(alignment && { alignment: { classes, ...alignment } }),
    });
    await model.initialize(options.seed ?? 3);
    if (alignment) await standardize(model, normalize);
    const tensors = await model.exportTensors();
    const heads = tensors
      .filter(({ name }) => !isEncoderName(name))
      // Of a size that makes the classes differ from frame to frame.
      .map((tensor) => ({ ...tensor, data: tensor.data.map(headWeight(tensor)) }));
    const encoder = tensors
      .filter(({ name }) => isEncoderName(name))
      .map((tensor) =>
        tensor.name.includes('.out_proj.') ? { ...tensor, data: tensor.data.map((weight) => attend * weight) } : tensor,
      );
    if (options.statisticsOf) alignment.statistics = await statisticsOf(model, options.statisticsOf);
    const head = {
      kind: 'classifier',
      ...described,
      ...(alignment && { alignment }),
      ...(options.calibration && { calibration: options.calibration }),
      tensors: heads,
    };
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

function pick(options, ...names) {
  return Object.fromEntries(names.flatMap((name) => (name in options ? [[name, options[name]]] : [])));
}

function headWeight({ name, data }) {
  if (name === 'alignment.output.weight') return (weight) => 15 * weight;
  if (name === 'alignment.utterance_bias' || !name.startsWith('alignment.'))
    return (_, i) => 1.5 * Math.sin(7 * i + data.length);
  return (weight) => weight;
}

/** Brings the columns of what the alignment network reads to zero mean and unit variance. */
async function standardize(model, normalize) {
  const batch = packSamples([speechLike(3, generator(1))], model.geometry.stride, { normalize });
  const { hidden } = await model.alignmentInput(batch);
  const [mean, factor] = await model.exportTensors(['alignment.input_mean', 'alignment.input_factor']);
  const columns = mean.data.length;
  for (let c = 0; c < columns; c++) {
    const column = hidden.filter((_, i) => i % columns === c);
    mean.data[c] = column.reduce((sum, value) => sum + value, 0) / column.length;
    const squares = column.reduce((sum, value) => sum + (value - mean.data[c]) ** 2, 0);
    factor.data[c] = 1 / Math.sqrt(squares / column.length + 1e-8);
  }
  await model.importTensors([mean, factor], { allowMissing: true });
}

async function statisticsOf(model, samples) {
  const waveform = await waveformStatistics(samples);
  if (!model.config.shape.groupNorm) return { waveform };
  const batch = packSamples([samples], model.geometry.stride, { normalize: [waveform] });
  const { mean, covariance } = await model.windowMoments(batch);
  return { waveform, windows: { mean: [...mean], covariance: [...covariance] } };
}

/** What the model of a predictor directory gives of a whole utterance. */
export async function classifyWhole(dir, samples) {
  const engine = Engine.create();
  try {
    const { model, normalize, head } = await loadClassifier(engine, dir, 'fp32');
    const { stride } = model.geometry;
    const result = await model.classify(packSamples([samples], stride, { normalize }));
    const { statistics } = head.alignment;
    if (!statistics) return result;
    const { alignment } = await model.classify(
      {
        ...packSamples([samples], stride, { normalize: [statistics.waveform] }),
        ...(statistics.windows && {
          windowMean: Float32Array.from(statistics.windows.mean),
          windowCovariance: Float32Array.from(statistics.windows.covariance),
        }),
      },
      undefined,
      'alignment',
    );
    return { ...result, alignment };
  } finally {
    engine.dispose();
  }
}
