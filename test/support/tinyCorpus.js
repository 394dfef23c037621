// A few seconds of made-up speech with labels and segments, and settings that train something on it in seconds.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generator, speechLike, writeWav } from './syntheticRun.js';

/** Writes `dir/manifest.jsonl`: three sessions of two speakers, two labels. Gives its path. */
export function writeTinyCorpus(dir) {
  const random = generator(11);
  mkdirSync(dir, { recursive: true });
  const rows = [];
  for (const session of ['s1', 's2', 's3']) {
    for (let n = 0; n < 8; n++) {
      const label = n % 2 === 0 ? 'angry' : 'neutral';
      const audio = `${session}_${n}.wav`;
      writeWav(join(dir, audio), speechLike(1.1 + 0.3 * random(), random));
      const segments = label === 'angry' ? [{ start: 0.2, end: 0.8, label }] : [];
      rows.push(JSON.stringify({ audio, label, session, speaker: `${session}_${n < 4 ? 'a' : 'b'}`, segments }));
    }
  }
  const manifest = join(dir, 'manifest.jsonl');
  writeFileSync(manifest, `${rows.join('\n')}\n`);
  return manifest;
}

const kmeans = { clusters: 4, restarts: 1, algorithm: 'lloyd', maxIterations: 5 };
const pretraining = { updates: 4, warmupUpdates: 1, batchSeconds: 8, maxSeconds: 4, minSeconds: 0.5 };
const fineTuning = { epochs: 2, batchSize: 8, maxSeconds: 4 };

/** A config for `emoframe run` from scratch. */
export const tinyConfig = {
  model: {
    model_type: 'hubert',
    hidden_size: 16,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 24,
    conv_dim: [8, 8, 8, 8, 8, 8, 8],
    conv_kernel: [10, 3, 3, 3, 3, 2, 2],
    conv_stride: [5, 2, 2, 2, 2, 2, 2],
    conv_bias: false,
    feat_extract_norm: 'group',
    feat_extract_activation: 'gelu',
    feat_proj_layer_norm: true,
    num_conv_pos_embeddings: 16,
    num_conv_pos_embedding_groups: 4,
    do_stable_layer_norm: false,
    hidden_act: 'gelu',
    layer_norm_eps: 1e-5,
  },
  mfcc: { ...pretraining, kmeans },
  tapt: { ...pretraining, layer: 2, kmeans },
  finetune: fineTuning,
  cluster: { layer: 2, kmeans },
  pretrain: pretraining,
  align: fineTuning,
  logEvery: 1,
};
