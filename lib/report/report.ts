import { AudioPool } from '../audio/pool.js';
import { rangeOf } from '../audio/range.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { writeFileAtomic } from '../files/atomic.js';
import type { RegressionSummary } from '../run/valueScores.js';
import { type Example, readOverview } from './choose.js';
import { reportPage } from './page.js';
import { learnedValues, type ReportedRun, readRun } from './readRun.js';
import { extremesOf, type Sound } from './timeline.js';
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
  if (learnedValues(run)) return valueReport(run, options);
  const overview = await readOverview(run, options.utterances ?? defaultUtterances);
  throwIfAborted(options.signal);
  const pool = new AudioPool({ threads: 2 });
  try {
    const sounds = await Promise.all(overview.examples.map((example) => soundOf(example, pool, options)));
    const page = run.reader.paths.report;
    await writeFileAtomic(page, reportPage(run, overview, sounds));
    return page;
  } finally {
    await pool.close();
  }
}

async function valueReport(run: ReportedRun<RegressionSummary>, options: ReportOptions): Promise<string> {
  const overview = await readValueOverview(run, options.utterances ?? defaultUtterances);
  throwIfAborted(options.signal);
  const page = run.reader.paths.report;
  await writeFileAtomic(page, valuePage(run, overview));
  return page;
}

/** The sound of an example; undefined if its file is gone or can no longer be read. */
async function soundOf({ row }: Example, pool: AudioPool, options: ReportOptions): Promise<Sound | undefined> {
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
