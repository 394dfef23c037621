// All settings of the demo: a 4-layer, 128-wide HuBERT trained from scratch, through all stages of one fold of about
// 45 minutes of synthetic speech, on two cores.
import type { RunConfigInput } from './types.js';

const kmeans = { restarts: 2, algorithm: 'lloyd', maxIterations: 20, frameLimit: 40_000 } as const;
const maskedPrediction = {
  batchSeconds: 20,
  maxSeconds: 10,
  warmupUpdates: 40,
  optimizer: { learningRate: 2e-3 },
  // Few, short spans: masked frames can then be predicted from their neighbours after minutes of training, not days.
  mask: { probability: 0.5, length: 4 },
  // At this size and rate the penalty wins over the loss at once, and the features die out.
  featurePenalty: 0,
} as const;
const fineTuning = {
  epochs: 10,
  batchSize: 16,
  schedule: 'linear',
  warmupUpdates: 40,
  optimizer: { learningRate: 1e-3 },
  trainFeatureEncoder: false,
  // One of 65 validation utterances is 1.5 points: they cannot rank epochs reliably.
  selection: 'average',
  averageEpochs: 5,
} as const;

export const demoConfig = {
  folds: { validation: { by: 'random', fraction: 0.15 } },
  model: {
    model_type: 'hubert',
    hidden_size: 128,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    intermediate_size: 512,
    conv_dim: [64, 64, 96, 128, 128, 128, 128],
    conv_kernel: [10, 3, 3, 3, 3, 2, 2],
    conv_stride: [5, 2, 2, 2, 2, 2, 2],
    conv_bias: false,
    feat_extract_norm: 'group',
    feat_extract_activation: 'gelu',
    feat_proj_layer_norm: true,
    num_conv_pos_embeddings: 64,
    num_conv_pos_embedding_groups: 8,
    do_stable_layer_norm: true,
    hidden_act: 'gelu',
    hidden_dropout: 0.05,
    attention_dropout: 0,
    activation_dropout: 0,
    feat_proj_dropout: 0,
    final_dropout: 0.1,
    layerdrop: 0,
    layer_norm_eps: 1e-5,
  },
  mfcc: { ...maskedPrediction, updates: 1400, kmeans: { ...kmeans, clusters: 100, restarts: 1 } },
  tapt: { ...maskedPrediction, updates: 250, layer: 3, kmeans: { ...kmeans, clusters: 100, restarts: 1 } },
  finetune: fineTuning,
  cluster: { layer: 3, kmeans: { ...kmeans, clusters: 50, restarts: 4 } },
  // From 1a, which has seen more updates: at this size that counts.
  pretrain: { ...maskedPrediction, updates: 400, startFrom: 'tapt' },
  align: fineTuning,
  checkpoint: { everyUpdates: 500, everySeconds: 60 },
} satisfies RunConfigInput;
