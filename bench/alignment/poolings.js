// One small network with other ways from frames to an utterance, and with true frame labels (mil.py).
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { smooth } from '../../dist/evaluate/viterbi.js';
import { FOLD } from './cells.js';

/** Names that mil.py knows, in the order of the table. */
export const POOLINGS = [
  'mean',
  'max',
  'top-k',
  'log-sum-exp',
  'noisy-or',
  'linear softmax',
  'auto',
  'attention',
  'EM on global states',
  'forward-backward',
  'true frame labels',
];
/** Nats, as in stage 5. */
const switchingCost = 4;

const fileOf = (place, pooling) => join(place, 'poolings', `${pooling.replaceAll(' ', '-')}.json`);

/** Trains what is not there yet, from what the shared run left. */
export async function runPoolings(place, { python, seed, threads }) {
  const missing = POOLINGS.filter((pooling) => !existsSync(fileOf(place, pooling)));
  if (missing.length === 0) return;
  const script = fileURLToPath(new URL('mil.py', import.meta.url));
  const words = [
    '--run',
    join(place, 'shared'),
    '--fold',
    FOLD,
    '--seed',
    seed,
    '--threads',
    threads,
    '--out',
    join(place, 'poolings'),
  ];
  await promisify(execFile)(python, [script, ...words.map(String), ...missing]);
}

/** The path of frame posteriors `[T][labels]`, by Viterbi, through the classes `states`. */
function pathThrough(states, posteriors) {
  if (states.length === 1) return posteriors.map(() => states[0]);
  const chosen = posteriors.flatMap((frame) => {
    const sum = states.reduce((total, state) => total + frame[state], 0);
    return states.map((state) => frame[state] / sum);
  });
  return Array.from(smooth(Float32Array.from(chosen), states.length, switchingCost), (state) => states[state]);
}

/**
 * Rows as of predictions.jsonl, decoded in two ways: `free`, through all classes, as stage 5 decodes attention, and `underLabel`,
 * where a frame is neutral or of the emotion that is decided of its utterance, as alignment is decoded.
 */
export async function readPooling(place, pooling) {
  const { labels, neutral, seconds, utterances } = JSON.parse(await readFile(fileOf(place, pooling), 'utf8'));
  const decode = (statesOf) =>
    utterances.map((utterance) => {
      const states = statesOf(labels.indexOf(utterance.predicted));
      return { ...utterance, labels, path: pathThrough(states, utterance.posteriors) };
    });
  const rest = labels.indexOf(neutral);
  return {
    free: decode(() => [...labels.keys()]),
    underLabel: decode((decided) => (decided === rest ? [rest] : [rest, decided])),
    seconds,
  };
}
