import { access, readdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import { aborted, EmoframeError, throwIfAborted } from '../errors.js';
import { makeDirectory, writeError, writeFileAtomic } from '../files/atomic.js';
import { isLink, linkError } from '../files/links.js';
import { readText } from '../files/read.js';
import type { Shape } from '../issues.js';
import { mapLimited } from '../lists.js';
import type { DemoRow, SpeakerMessage, SpeakerTask } from './speakerWorker.js';
import { VOICES, type Voice } from './voices.js';

export interface DemoCorpusOptions {
  /** Non-negative integer; the same seed gives the same bytes. */
  seed: number;
  /** Total length of all utterances; default 45. Every voice has at least four utterances, one per emotion. */
  minutes?: number;
  /** Default: all that this process may use. The result does not depend on it. */
  threads?: number;
  /** Seconds of speech made so far, and in total. */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

export interface DemoCorpus {
  /** Path of the JSONL manifest. */
  manifest: string;
  utterances: number;
  seconds: number;
}

/** Incremented whenever the same seed would no longer give the same corpus. */
const VERSION = 1;

/** `SPEAKER-ROUND-LABEL.wav`, as utterances are named. */
const spokenName = new RegExp(`^(?:${VOICES.map(({ speaker }) => speaker).join('|')})-\\d{3,}-[a-z]+\\.wav$`);

/** The settings of a corpus: written first, which says that what lies beside it was made here, and again when all of it is there. */
interface Stamp {
  version: number;
  seed: number;
  minutes: number;
  /** Absent: not finished. */
  utterances?: number;
  seconds?: number;
}

const stampSchema = z.looseObject({
  version: z.number(),
  seed: z.number(),
  minutes: z.number(),
  utterances: z.number().exactOptional(),
  seconds: z.number().exactOptional(),
} satisfies Shape<Stamp>);

async function readStamp(path: string): Promise<Stamp | undefined> {
  const text = await readText(path, 1 << 16).catch(() => '');
  try {
    return stampSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // absent, or somebody else's
  }
}

/** What is in a folder, if there is one. */
async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw writeError(folder, error);
  });
}

/** Nothing of somebody else's has a name that would be written. Hidden files do not matter. */
async function refuseForeign(directory: string): Promise<void> {
  const names = await namesIn(directory);
  const foreign = names.find((name) => !name.startsWith('.'));
  if (foreign === undefined) return;
  throw new EmoframeError(
    'ERR_RUN_EXISTS',
    `${directory} is not empty (it contains ${foreign}) and is not a demo corpus: choose another folder, or move that away.`,
    { file: directory },
  );
}

async function isComplete(directory: string, manifest: string): Promise<boolean> {
  try {
    const rows = (await readText(manifest, 1 << 26)).trimEnd().split('\n');
    await Promise.all(rows.map((row) => access(join(directory, (JSON.parse(row) as DemoRow).audio))));
    return true;
  } catch {
    return false;
  }
}

interface Spoken {
  rows: DemoRow[];
  seconds: number;
}

function runSpeaker(task: SpeakerTask, onSeconds: (seconds: number) => void, signal?: AbortSignal): Promise<Spoken> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./speakerWorker.js', import.meta.url), { workerData: task });
    const spoken: Spoken = { rows: [], seconds: 0 };
    const finish = (action: () => void): void => {
      signal?.removeEventListener('abort', onAbort);
      void worker.terminate().then(action);
    };
    const onAbort = (): void => finish(() => reject(aborted(signal)));
    signal?.addEventListener('abort', onAbort, { once: true });
    worker.on('message', (message: SpeakerMessage) => {
      if (message.kind === 'row') {
        spoken.rows.push(message.row);
        spoken.seconds += message.seconds;
        onSeconds(message.seconds);
      } else if (message.kind === 'done') finish(() => resolve(spoken));
      else finish(() => reject(new EmoframeError(message.code, message.message)));
    });
    worker.on('error', (cause) => {
      finish(() =>
        reject(new EmoframeError('ERR_DEMO', `The voice ${task.voice.speaker} failed: ${cause.message}`, { cause })),
      );
    });
  });
}

/** Synthesises all voices, `threads` at a time; rows are in the order of the voices. */
async function speakAll(directory: string, minutes: number, options: DemoCorpusOptions): Promise<Spoken> {
  const total = minutes * 60;
  let done = 0;
  // The first failure stops the other voices.
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, options.signal]);
  const onSeconds = (seconds: number): void => {
    done += seconds;
    options.onProgress?.(Math.min(done, total), total);
  };
  const speak = async (voice: Voice): Promise<Spoken> => {
    throwIfAborted(signal);
    const task: SpeakerTask = { directory, voice, seed: options.seed, seconds: total / VOICES.length };
    return runSpeaker(task, onSeconds, signal).catch((error: unknown) => {
      stop.abort();
      throw error;
    });
  };
  const spoken = await mapLimited(VOICES, speak, options.threads ?? availableParallelism());
  return {
    rows: spoken.flatMap(({ rows }) => rows),
    seconds: spoken.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

function validate(options: DemoCorpusOptions): number {
  const minutes = options.minutes ?? 45;
  if (!Number.isSafeInteger(options.seed) || options.seed < 0) {
    throw new EmoframeError('ERR_ARGUMENT', `Expected non-negative integer for seed but received ${options.seed}.`);
  }
  if (!(minutes > 0 && minutes <= 600)) {
    throw new EmoframeError('ERR_ARGUMENT', `Expected minutes between 0 and 600 but received ${minutes}.`);
  }
  if (options.threads !== undefined && !(Number.isInteger(options.threads) && options.threads > 0)) {
    throw new EmoframeError('ERR_ARGUMENT', `Expected positive integer for threads but received ${options.threads}.`);
  }
  return minutes;
}

/**
 * Makes a small emotional speech corpus whose frame-level truth is known exactly: five sessions of two synthetic voices, four
 * emotions (angry, happy, neutral, sad), utterances of about 2 to 8 seconds as 16 kHz WAV under `directory/audio`, and
 * `directory/manifest.jsonl`. An emotional utterance carries its emotion, by prosody alone, in about half of its length
 * (`segments`, in seconds); the rest is neutral. Words, level and noise are independent of the label. The same seed gives the
 * same bytes; a finished corpus with the same settings is reused.
 *
 * @throws EmoframeError `ERR_RUN_EXISTS` when the folder holds something else; `ERR_WRITE`; `ERR_DEMO` when eSpeak NG (`@echogarden/espeak-ng-emscripten`) is not installed; `ERR_ARGUMENT` on a
 * bad option; `ERR_ABORTED` when the signal fires.
 * @example
 * const { manifest } = await makeDemoCorpus('runs/demo/corpus', { seed: 1, minutes: 45 });
 * const corpus = await readCorpus(manifest);
 */
export async function makeDemoCorpus(directory: string, options: DemoCorpusOptions): Promise<DemoCorpus> {
  const minutes = validate(options);
  throwIfAborted(options.signal);
  const manifest = join(directory, 'manifest.jsonl');
  const stampPath = join(directory, 'demo.json');
  const stamp = await readStamp(stampPath);
  if (stamp === undefined) await refuseForeign(directory);
  const wanted: Stamp = { version: VERSION, seed: options.seed, minutes };
  if (stamp?.utterances !== undefined && stamp.seconds !== undefined) {
    const same = stamp.version === VERSION && stamp.seed === options.seed && stamp.minutes === minutes;
    if (same && (await isComplete(directory, manifest))) {
      return { manifest, utterances: stamp.utterances, seconds: stamp.seconds };
    }
  }
  await writeFileAtomic(stampPath, `${JSON.stringify(wanted)}\n`);
  const audio = join(directory, 'audio');
  await removeSpoken(audio);
  await makeDirectory(audio).catch((error: unknown) => {
    throw writeError(audio, error);
  });
  const { rows, seconds } = await speakAll(directory, minutes, options);
  await writeFileAtomic(manifest, `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`);
  const finished: Stamp = { ...wanted, utterances: rows.length, seconds };
  await writeFileAtomic(stampPath, `${JSON.stringify(finished)}\n`);
  return { manifest, utterances: rows.length, seconds };
}

/** Removes what this function made before, and nothing else. */
async function removeSpoken(audio: string): Promise<void> {
  try {
    if (await isLink(audio)) throw linkError(audio);
    for (const name of await namesIn(audio)) {
      if (spokenName.test(name)) await rm(join(audio, name), { force: true });
    }
  } catch (error) {
    throw writeError(audio, error);
  }
}
