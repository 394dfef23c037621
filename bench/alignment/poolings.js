// What does not work, and what would: the same small network with other ways from frames to an utterance (mil.py).
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

/**
 * Rows as of predictions.jsonl. A timeline is decoded knowing what is decided of its utterance: neutral, or that emotion. It is
 * more than stage 5 gives attention, and as much as it gives alignment.
 */
export async function readPooling(place, pooling) {
  const { labels, neutral, seconds, utterances } = JSON.parse(await readFile(fileOf(place, pooling), 'utf8'));
  const rest = labels.indexOf(neutral);
  const rows = utterances.map((utterance) => {
    const decided = labels.indexOf(utterance.predicted);
    const posteriors = Float32Array.from(
      utterance.posteriors.flatMap((frame) => {
        const sum = frame[rest] + frame[decided];
        return [frame[rest] / sum, frame[decided] / sum];
      }),
    );
    const path =
      decided === rest
        ? utterance.posteriors.map(() => rest)
        : Array.from(smooth(posteriors, 2, switchingCost), (state) => (state === 0 ? rest : decided));
    return { ...utterance, labels, path };
  });
  return { rows, seconds };
}
