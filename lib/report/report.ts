import { AudioPool } from '../audio/pool.js';
import { rangeOf } from '../audio/range.js';
import type { AudioRange } from '../audio/types.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { writeFileAtomic } from '../files/atomic.js';
import type { RunSummary } from '../run/scores.js';
import type { RegressionSummary } from '../run/valueScores.js';
import { readOverview } from './choose.js';
import { extremesOf, type Sound } from './lanes.js';
import { reportPage } from './page.js';
import { learnedValues, type ReportedRun, readRun } from './readRun.js';
import { valuePage } from './valuePage.js';
import { readValueOverview } from './valueRows.js';
import { wavDataUrl } from './wav.js';

export interface ReportOptions {
  /** Utterances with a timeline (default 12). */
  utterances?: number;
  /** Embed the audio of short utterances, to be played on the page; about 40 kB a second. Default: no. */
  embedAudio?: boolean;
  signal?: AbortSignal;
}

const defaultUtterances = 12;
const waveformBuckets = 600;
const longestPlayedSeconds = 12;

/**
 * Writes `report.html` into a run directory: one self-contained page that needs neither other files nor a network.
 *
 * @param dir a run directory with `summary.json`.
 * @returns the page's path.
 * @throws `ERR_RUN_INCOMPLETE`, `ERR_ABORTED`.
 * @example
 * const page = await writeReport('runs/demo');
 */
export async function writeReport(dir: string, options: ReportOptions = {}): Promise<string> {
  const run = await readRun(dir);
  const page = run.reader.paths.report;
  await writeFileAtomic(page, learnedValues(run) ? await valuesOf(run, options) : await emotionsOf(run, options));
  return page;
}

async function emotionsOf(run: ReportedRun<RunSummary>, options: ReportOptions): Promise<string> {
  const overview = await readOverview(run, options.utterances ?? defaultUtterances);
  return reportPage(run, overview, await soundsOf(overview.examples, options));
}

async function valuesOf(run: ReportedRun<RegressionSummary>, options: ReportOptions): Promise<string> {
  const overview = await readValueOverview(run, options.utterances ?? defaultUtterances);
  return valuePage(run, overview, await soundsOf(overview.examples, options));
}

/** What is drawn and played of an utterance. */
type Voiced = AudioRange & { audio: string; seconds: number };

async function soundsOf(examples: readonly { row: Voiced }[], options: ReportOptions): Promise<(Sound | undefined)[]> {
  throwIfAborted(options.signal);
  const pool = new AudioPool({ threads: 2 });
  try {
    return await Promise.all(examples.map(({ row }) => soundOf(row, pool, options)));
  } finally {
    await pool.close();
  }
}

/** The sound of an example; undefined if its file is gone or can no longer be read. */
async function soundOf(row: Voiced, pool: AudioPool, options: ReportOptions): Promise<Sound | undefined> {
  let samples: Float32Array;
  try {
    samples = await pool.load(row.audio, rangeOf(row), options.signal);
  } catch (error) {
    if (error instanceof EmoframeError && error.code !== 'ERR_ABORTED') return undefined;
    throw error;
  }
  const played = options.embedAudio === true && row.seconds <= longestPlayedSeconds;
  return { extremes: extremesOf(samples, waveformBuckets), ...(played ? { wav: wavDataUrl(samples) } : {}) };
}
