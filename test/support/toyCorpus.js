// A task that a tiny model learns in seconds: two sessions of hums, which in `happy` utterances rise two octaves in the
// middle, so that frame-level truth is known.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeWav } from './wav.js';

const rate = 16000;

/** Deterministic uniform numbers. */
function lehmer(seed) {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

function writeWav(path, samples) {
  writeFileSync(
    path,
    encodeWav(
      Int16Array.from(samples, (sample) => Math.round(sample * 20000)),
      rate,
    ),
  );
}

/** `perClass` utterances of each of two classes in each of two sessions. */
export function makeToyCorpus(dir, perClass = 6) {
  mkdirSync(dir, { recursive: true });
  const random = lehmer(1);
  const utterances = [];
  for (const session of ['s1', 's2']) {
    for (const label of ['happy', 'neutral']) {
      for (let n = 0; n < perClass; n++) {
        const seconds = 1.2 + 0.8 * random();
        const pitch = 180 + 40 * random();
        const [start, end] = [0.3, seconds - 0.3];
        const samples = Array.from({ length: Math.floor(seconds * rate) }, (_, i) => {
          const time = i / rate;
          const high = label === 'happy' && time > start && time < end;
          return 0.05 * (random() - 0.5) + 0.4 * Math.sin(2 * Math.PI * (high ? 4 * pitch : pitch) * time);
        });
        const id = `${session}-${label}-${n}`;
        const audio = join(dir, `${id}.wav`);
        writeWav(audio, samples);
        const segments = label === 'happy' ? [{ start, end, label }] : [];
        utterances.push({ id, audio, label, session, speaker: `${session}-voice`, segments });
      }
    }
  }
  return { name: 'toy', utterances, problems: [] };
}

/**
 * Utterances with values from 0 to 1 in each of two sessions: `arousal` is heard as the pitch of a hum, `valence` as a whistle
 * over it.
 */
export function makeToyValues(dir, perSession = 16) {
  mkdirSync(dir, { recursive: true });
  const random = lehmer(7);
  const utterances = [];
  for (const session of ['s1', 's2']) {
    for (let n = 0; n < perSession; n++) {
      const seconds = 0.8 + 0.6 * random();
      const values = { arousal: random(), valence: random() };
      const pitch = 150 * 5 ** values.arousal;
      const samples = Array.from({ length: Math.floor(seconds * rate) }, (_, i) => {
        const hum = Math.sin((2 * Math.PI * pitch * i) / rate);
        const whistle = Math.sin((2 * Math.PI * 3000 * i) / rate);
        return 0.05 * (random() - 0.5) + 0.4 * hum + 0.5 * values.valence * whistle;
      });
      const id = `${session}-${n}`;
      const audio = join(dir, `${id}.wav`);
      writeWav(audio, samples);
      utterances.push({ id, audio, session, speaker: `${session}-voice`, values });
    }
  }
  return { name: 'toy values', utterances, problems: [] };
}

const kmeans = { restarts: 2, algorithm: 'lloyd', maxIterations: 20 };
const maskedPrediction = {
  updates: 12,
  warmupUpdates: 4,
  batchSeconds: 8,
  maxSeconds: 1.5,
  minSeconds: 0.5,
  optimizer: { learningRate: 2e-3 },
  dimension: 16,
};
const fineTuning = { epochs: 6, batchSize: 4, maxSeconds: 2, optimizer: { learningRate: 3e-3 } };

/** A run of the whole method on it in a few seconds, with dropout, crops and several passes an update. */
export const toyConfig = {
  seed: 3,
  model: {
    hidden_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 64,
    conv_dim: [32, 32, 32, 32, 32, 32, 32],
    num_conv_pos_embeddings: 16,
    num_conv_pos_embedding_groups: 2,
    layerdrop: 0.1,
  },
  folds: { validation: { by: 'random', fraction: 0.3 } },
  mfcc: { ...maskedPrediction, kmeans: { ...kmeans, clusters: 8 } },
  tapt: { ...maskedPrediction, kmeans: { ...kmeans, clusters: 8 } },
  finetune: fineTuning,
  cluster: { kmeans: { ...kmeans, clusters: 6 } },
  pretrain: maskedPrediction,
  align: {
    ...fineTuning,
    selection: 'average',
    averageEpochs: 2,
    epochs: 4,
    members: 2,
    network: { epochs: 8, batchSize: 4, maxSeconds: 3, averageEpochs: 5, warmupUpdates: 2, width: 24 },
  },
  memory: { passSeconds: 5 },
  checkpoint: { everyUpdates: 7 },
};
