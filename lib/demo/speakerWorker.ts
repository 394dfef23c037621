// One voice on one thread: see `makeDemoCorpus`. Posts a row as soon as its audio is written.
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { SAMPLE_RATE } from '../audio/resample.js';
import type { Segment } from '../corpus/types.js';
import { EmoframeError, type EmoframeErrorCode } from '../errors.js';
import { writeError } from '../files/atomic.js';
import { espeakTalker } from './espeakTalker.js';
import { encodeWav } from './signal.js';
import { makeSpeaker } from './speaker.js';
import { Synthesizer } from './synthesizer.js';
import type { Voice } from './voices.js';

export interface SpeakerTask {
  directory: string;
  voice: Voice;
  seed: number;
  seconds: number;
}

/** A row of the manifest. */
export interface DemoRow {
  id: string;
  /** Relative to the manifest. */
  audio: string;
  label: string;
  speaker: string;
  session: string;
  segments: Segment[];
  text: string;
}

export type SpeakerMessage =
  | { kind: 'row'; row: DemoRow; seconds: number }
  | { kind: 'done' }
  | { kind: 'error'; code: EmoframeErrorCode; message: string };

const task = workerData as SpeakerTask;
const post = (message: SpeakerMessage): void => parentPort?.postMessage(message);

/** A new file, and not what a link of its name leads to. */
async function write(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await rm(path, { force: true });
    await writeFile(path, bytes, { flag: 'wx' });
  } catch (error) {
    throw writeError(path, error);
  }
}

try {
  const talker = espeakTalker(await Synthesizer.create(task.voice.identifier), task.voice);
  for await (const utterance of makeSpeaker(talker, task.seed, task.seconds)) {
    const audio = `audio/${utterance.id}.wav`;
    await write(join(task.directory, audio), encodeWav(utterance.samples, SAMPLE_RATE));
    const { speaker, session } = task.voice;
    const { id, label, segments } = utterance;
    const row = { id, audio, label, speaker, session, segments, text: utterance.text.join(', ') };
    post({ kind: 'row', row, seconds: utterance.samples.length / SAMPLE_RATE });
  }
  post({ kind: 'done' });
} catch (error) {
  const code = error instanceof EmoframeError ? error.code : 'ERR_DEMO';
  const message = error instanceof Error ? error.message : String(error);
  post({ kind: 'error', code, message });
}
