// A small corpus and settings whose runs stop and start often: everything that a resume could get wrong takes part, such as
// dropout, crops, several passes an update, a best epoch that is not the last, and training states saved at short intervals.
import { tinyConfig } from './tinyCorpus.js';

const dropout = {
  hidden_dropout: 0.1,
  attention_dropout: 0.1,
  activation_dropout: 0.1,
  feat_proj_dropout: 0.1,
  final_dropout: 0.1,
  layerdrop: 0.2,
};
const lloyd = { clusters: 4, restarts: 2, algorithm: 'lloyd', maxIterations: 10 };
const miniBatch = {
  clusters: 4,
  restarts: 2,
  algorithm: 'mini-batch',
  batchSize: 100,
  maxIterations: 20,
  frameLimit: 500,
};
const pretraining = {
  updates: 6,
  warmupUpdates: 2,
  batchSeconds: 8,
  maxSeconds: 1.2,
  minSeconds: 0.5,
  dimension: 16,
  optimizer: { learningRate: 2e-3 },
};
const fineTuning = { epochs: 4, batchSize: 6, maxSeconds: 1.2, optimizer: { learningRate: 5e-3 } };
const network = { epochs: 2, batchSize: 3, maxSeconds: 3, warmupUpdates: 1, width: 16, blocks: 2 };
const common = {
  ...tinyConfig,
  mfcc: { ...pretraining, kmeans: lloyd },
  tapt: { ...pretraining, layer: 2, kmeans: lloyd },
  finetune: fineTuning,
  cluster: { layer: 2, kmeans: lloyd },
  pretrain: pretraining,
  align: { ...fineTuning, network },
  checkpoint: { everyUpdates: 2 },
  memory: { passSeconds: 4 },
};

/** Configs by form: `base` with GroupNorm, and `large` with LayerNorm and the less usual settings. */
export const killedConfigs = {
  base: { ...common, model: { ...tinyConfig.model, ...dropout } },
  large: {
    ...common,
    model: {
      ...tinyConfig.model,
      ...dropout,
      conv_bias: true,
      feat_extract_norm: 'layer',
      do_stable_layer_norm: true,
    },
    protocol: 'transductive',
    mfcc: { ...pretraining, kmeans: miniBatch },
    tapt: { ...pretraining, layer: 1, kmeans: miniBatch, trainFeatureEncoder: true },
    finetune: { ...fineTuning, trainFeatureEncoder: true, pooling: 'stats', schedule: 'linear' },
    cluster: { layer: 1, kmeans: miniBatch },
    pretrain: { ...pretraining, startFrom: 'tapt' },
    align: { ...fineTuning, pooling: 'attention-linear', network },
    memory: { passSeconds: 4, featureBytes: 0 },
  },
};
