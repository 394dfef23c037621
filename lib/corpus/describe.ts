import { AudioPool } from '../audio/pool.js';
import { rangeOf } from '../audio/range.js';
import { measureSeconds } from '../audio/store.js';
import { isUnreadable } from '../audio/unreadable.js';
import { throwIfAborted } from '../errors.js';
import { mapLimited } from '../lists.js';
import { TIME_TOLERANCE_SECONDS } from './row.js';
import type { Corpus, Problem, Utterance } from './types.js';

/** Headers read at once. */
const CONCURRENCY = 8;

/** What a corpus holds, in numbers. */
export interface CorpusDescription {
  /** The dataset that was recognised (`iemocap`); of a manifest, its name. */
  dataset: string;
  /** Usable utterances, unreadable audio included until it is mended. */
  utterances: number;
  /** Utterances of each label, the commonest first. */
  labels: Record<string, number>;
  unlabelled: number;
  /** Of each dimension that is rated: how many utterances are, and the mean and standard deviation of their values. */
  values: Record<string, ValueSummary>;
  /** Utterances of each speaker and session that is named. */
  speakers: Record<string, number>;
  sessions: Record<string, number>;
  /** Speech in all, of the utterances that can be read. */
  seconds: number;
  /** The corpus's own, then those of audio that could not be measured. */
  problems: Problem[];
  /** The label scheme that was applied; absent: labels are as they were read. */
  scheme?: string;
  /** Utterances of other labels, and parts of the dataset, that were left out. */
  leftOut: Record<string, number>;
  /** What `customary` folds are, in words. */
  folds: string;
}

/** The values of one dimension in a corpus. */
export interface ValueSummary {
  utterances: number;
  mean: number;
  /** Population form. */
  deviation: number;
}

export interface DescribeOptions {
  pool?: AudioPool;
  decode?: boolean;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/**
 * Counts a corpus and measures its audio by the files' headers.
 *
 * @param options.decode decode all audio, which also finds damage inside files
 * @param options.pool for the rare files whose header does not state their length; one is made and closed unless given
 * @throws `ERR_ABORTED`. Audio that cannot be read is not an error: it is listed in `problems`.
 * @example
 * const { labels, seconds, problems } = await describeCorpus(await readCorpus('manifest.csv'));
 */
export async function describeCorpus(corpus: Corpus, options: DescribeOptions = {}): Promise<CorpusDescription> {
  const pool = options.pool ?? new AudioPool();
  try {
    const measured = await measureAll(corpus.utterances, pool, options);
    return {
      dataset: corpus.dataset ?? corpus.name,
      utterances: corpus.utterances.length,
      labels: countBy(corpus.utterances, (utterance) => utterance.label),
      unlabelled: corpus.utterances.filter((utterance) => utterance.label === undefined).length,
      values: summarizeValues(corpus.utterances),
      speakers: countBy(corpus.utterances, (utterance) => utterance.speaker),
      sessions: countBy(corpus.utterances, (utterance) => utterance.session),
      seconds: measured.reduce((sum, { seconds }) => sum + seconds, 0),
      problems: [...corpus.problems, ...measured.flatMap(({ problem }) => problem ?? [])],
      ...(corpus.labels === undefined ? {} : { scheme: corpus.labels }),
      leftOut: corpus.leftOut ?? {},
      folds: foldsInWords(corpus),
    };
  } finally {
    if (options.pool === undefined) await pool.close();
  }
}

function foldsInWords({ customary = { scheme: 'session' }, folds, dataset, utterances }: Corpus): string {
  const shared = customary.allowSharedSpeakers ? ', with speakers on both sides' : '';
  switch (customary.scheme) {
    case 'given':
      if (dataset === undefined) {
        const of = (split: Utterance['split']) => utterances.filter((utterance) => utterance.split === split).length;
        return `${of('train')} utterances to train on, ${of('test')} to test on`;
      }
      return `${folds === undefined ? "the dataset's own" : `the dataset's own ${folds.length}`}${shared}`;
    case 'speakers':
      return `${customary.count} groups of speakers`;
    default:
      return `a ${customary.scheme} at a time`;
  }
}

interface Measurement {
  seconds: number;
  problem?: Problem;
}

function measureAll(
  utterances: Utterance[],
  pool: AudioPool,
  { decode = false, signal, onProgress }: DescribeOptions,
): Promise<Measurement[]> {
  let done = 0;
  return mapLimited(
    utterances,
    async (utterance) => {
      throwIfAborted(signal);
      const measured = await measure(utterance, pool, decode, signal);
      onProgress?.(++done, utterances.length);
      return measured;
    },
    CONCURRENCY,
  );
}

async function measure(
  utterance: Utterance,
  pool: AudioPool,
  decode: boolean,
  signal: AbortSignal | undefined,
): Promise<Measurement> {
  try {
    if (decode) await pool.measure(utterance.audio, rangeOf(utterance), signal);
    const seconds = await measureSeconds(utterance, pool);
    const late = utterance.segments?.find((segment) => segment.end > seconds + TIME_TOLERANCE_SECONDS);
    if (late === undefined) return { seconds };
    const reason = `a segment of ${utterance.id} ends at ${late.end} s, after the utterance (${seconds.toFixed(3)} s)`;
    return { seconds, problem: { file: utterance.audio, reason } };
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    return { seconds: 0, problem: { file: utterance.audio, reason: error.message } };
  }
}

function countBy(utterances: Utterance[], field: (utterance: Utterance) => string | undefined): Record<string, number> {
  const counts = new Map<string, number>();
  for (const utterance of utterances) {
    const name = field(utterance);
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)));
}

function summarizeValues(utterances: readonly Utterance[]): Record<string, ValueSummary> {
  const byName = new Map<string, number[]>();
  for (const { values = {} } of utterances) {
    for (const [name, value] of Object.entries(values)) {
      const found = byName.get(name);
      if (found === undefined) byName.set(name, [value]);
      else found.push(value);
    }
  }
  const sorted = [...byName].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    sorted.map(([name, values]) => {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
      return [name, { utterances: values.length, mean, deviation: Math.sqrt(variance) }];
    }),
  );
}
