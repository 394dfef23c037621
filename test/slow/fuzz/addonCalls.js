// What the addon can be asked, and right arguments to begin with: a tiny model, short sounds, few points.
export const engineOptions = { device: 'cpu', threads: 1, memoryLimit: 1 << 25, graphs: true };
const shape = {
  convDim: [12, 8, 16],
  convKernel: [10, 3, 2],
  convStride: [5, 2, 2],
  convBias: false,
  groupNorm: true,
  featureProjectionLayerNorm: true,
  hiddenSize: 16,
  layers: 2,
  heads: 2,
  intermediateSize: 24,
  positionalKernel: 6,
  positionalGroups: 4,
  stableLayerNorm: false,
  layerNormEpsilon: 1e-5,
  hiddenDropout: 0,
  attentionDropout: 0,
  activationDropout: 0,
  featureProjectionDropout: 0,
  finalDropout: 0,
  layerdrop: 0,
};
const alignment = {
  classes: 4,
  neutral: 1,
  source: 'features',
  layer: 'output',
  chunkFrames: 5,
  contextFrames: 3,
  width: 12,
  halfWidths: [2, 0],
  dropout: 0,
  scale: 0.4,
  switchingCost: 1.5,
};
const classes = {
  shape,
  precision: 'fp32',
  maskedPrediction: { clusters: 5, dimension: 8, temperature: 0.1 },
  classifier: {
    classes: 4,
    pooling: 'attention',
    dense: [{ width: 6, norm: true, activation: 'tanh' }],
    frames: { window: 7, hop: 3 },
  },
  alignment,
};
const values = {
  ...classes,
  shape: {
    ...shape,
    groupNorm: false,
    stableLayerNorm: true,
    positionBias: { kind: 'buckets', buckets: 8, reach: 20 },
  },
  classifier: { classes: 2, task: 'regression', source: 'layers', inputNorm: 'frame', projector: 6, pooling: 'stats' },
  alignment: { ...alignment, source: 'layers', layer: 1 },
};
/** Tiny models: of classes, and of values. */
export const models = [classes, values];

/** Weights for every tensor of a model. */
export const weightsOf = (model) =>
  model.tensors().map(({ name, shape }) => {
    const count = shape.reduce((product, side) => product * side, 1);
    return { name, data: floats(count).map((value) => value / 4) };
  });

const work = { frames: 100, utterances: 3, objective: 'classification', storedFrames: 0, longestStoredFrames: 0 };
const optimizer = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-6,
  weightDecay: 0.01,
  clipNorm: 1,
  step: 1,
  groups: [{ prefix: 'encoder.', learningRate: 1e-4 }],
};
export const floats = (count) => Float32Array.from({ length: count }, (_, i) => Math.sin(i));
const batch = () => ({
  samples: [floats(400), floats(301)],
  starts: Int32Array.of(0, 400),
  lengths: Int32Array.of(400, 301),
  normalize: true,
});
const stored = () => ({ features: ['a', 'b'] });
const step = () => ({
  objective: 'classification',
  labels: Int32Array.of(0, 1),
  denominator: 2,
  featurePenalty: 0,
  featureGradientScale: 1,
  seed: 1,
  step: 1,
  dropout: false,
});
const regression = () => ({
  objective: 'regression',
  labels: new Int32Array(0),
  denominator: 1,
  targets: floats(4),
  others: { outputs: floats(4), targets: floats(4) },
});
const masked = () => ({
  objective: 'masked-prediction',
  labels: new Int32Array(33).fill(1),
  mask: new Uint8Array(33).fill(1),
  featurePenalty: 1,
  dropout: true,
});
const kmeans = () => ({
  points: floats(90),
  dimension: 3,
  clusters: 4,
  restarts: 2,
  algorithm: 'lloyd',
  batchSize: 8,
  maxIterations: 5,
  tolerance: 1e-4,
  seed: 1,
  cancel: new Int32Array(new SharedArrayBuffer(4)),
  progress: new Float64Array(new SharedArrayBuffer(16)),
});

/** Every function, with arguments that it takes; of a model also such as hold one of its tensors. */
export const engineCalls = [
  ['createModel', () => [structuredClone(models[0])]],
  ['createModel', () => [structuredClone(models[1])]],
  ['kmeans', () => [kmeans()]],
  ['assign', () => [floats(30), floats(9), 3]],
  ['align', () => [floats(24), Int32Array.of(0, 2, 6), { neutral: 0, scale: 0.1, switchingCost: 4, bias: floats(4) }]],
  ['memory', () => []],
  ['graphs', () => []],
];
export const modelCalls = [
  ['tensors', () => []],
  ['importTensors', ({ name, count }) => [[{ name, data: floats(count) }]]],
  ['readTensor', ({ name, count }) => [name, 'weights', new Float32Array(count)]],
  ['hasMoments', () => []],
  ['exportGradients', () => []],
  ['importMoments', ({ name, count }) => [[{ name, m: floats(count), v: floats(count) }]]],
  ['freeze', () => [['feature_extractor.']]],
  ['plan', () => [{ ...work }]],
  ['prepare', () => [{ ...work }]],
  ['storeFeatures', () => [['a', 'b'], batch()]],
  ['featureBytes', () => []],
  ['storedFrames', () => ['a']],
  ['clearFeatures', () => []],
  ['encode', () => [batch(), 1]],
  ['classify', () => [batch(), { starts: Int32Array.of(0, 1), counts: Int32Array.of(5, 4) }, 'classifier']],
  ['classify', () => [stored()]],
  ['alignmentInput', () => [batch()]],
  ['windowMoments', () => [batch()]],
  ['trainStep', () => [batch(), step()]],
  ['trainStep', () => [stored(), { ...step(), objective: 'alignment', frameLabels: new Int32Array(33) }]],
  ['trainStep', () => [batch(), { ...step(), ...regression() }]],
  ['trainOutputs', () => [batch(), { ...step(), ...regression() }]],
  ['trainStep', () => [batch(), { ...step(), ...masked() }]],
  ['optimizerStep', () => [{ ...optimizer, groups: [...optimizer.groups] }]],
  ['clearGradients', () => []],
  ['packForInference', () => []],
  ['dispose', () => []],
];
export const bindingCalls = [
  ['describe', () => []],
  ['endEngines', () => []],
  ['largeFloats', () => [100]],
  ['lockFile', () => [-1]],
  ['createEngine', () => [{ ...engineOptions }]],
];
