import { AudioPool } from '../audio/pool.js';
import { rangeOf } from '../audio/range.js';
import { isUnreadable } from '../audio/unreadable.js';
import { type EmoframeErrorCode, throwIfAborted } from '../errors.js';
import { mapLimited } from '../lists.js';
import type { Corpus, GivenFold, Utterance } from './types.js';

/** An utterance whose audio cannot be used, and why. */
export interface UnreadableUtterance {
  id: string;
  /** The audio file. */
  file: string;
  code: EmoframeErrorCode;
  reason: string;
}

/** What reading a corpus's audio through gives. */
export interface AudioCheck {
  /** In the order of the corpus. */
  unreadable: UnreadableUtterance[];
  /** Samples at 16 kHz of the others, by id. */
  sampleCounts: Map<string, number>;
}

/**
 * Decodes all audio of a corpus, which finds what headers do not show, such as a file that is damaged in its middle. No
 * samples are kept.
 *
 * @param options.pool one is made and closed unless given
 * @throws `ERR_ABORTED`, `ERR_AUDIO_WORKER`. Audio that cannot be read is not an error: it is what is looked for.
 * @example
 * const { unreadable } = await checkAudio(await readCorpus('manifest.csv'));
 * for (const { id, file, reason } of unreadable) console.warn(id, file, reason);
 */
export async function checkAudio(
  corpus: Corpus,
  options: { pool?: AudioPool; signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<AudioCheck> {
  const pool = options.pool ?? new AudioPool();
  const { utterances } = corpus;
  const sampleCounts = new Map<string, number>();
  let done = 0;
  const check = async ({ id, audio, ...range }: Utterance): Promise<UnreadableUtterance | undefined> => {
    throwIfAborted(options.signal);
    try {
      sampleCounts.set(id, await pool.measure(audio, rangeOf(range), options.signal));
      return undefined;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      return { id, file: audio, code: error.code, reason: error.message };
    }
  };
  const checkNext = async (utterance: Utterance) => {
    const found = await check(utterance);
    options.onProgress?.(++done, utterances.length);
    return found;
  };
  try {
    // A thread that is done finds its next file waiting.
    const found = await mapLimited(utterances, checkNext, 2 * pool.threads);
    return { unreadable: found.filter((item) => item !== undefined), sampleCounts };
  } finally {
    if (options.pool === undefined) await pool.close();
  }
}

/** A corpus without some of its utterances. */
export function without(corpus: Corpus, unreadable: readonly Pick<UnreadableUtterance, 'id'>[]): Corpus {
  if (unreadable.length === 0) return corpus;
  const ids = new Set(unreadable.map(({ id }) => id));
  const utterances = corpus.utterances.filter(({ id }) => !ids.has(id));
  return corpus.folds === undefined
    ? { ...corpus, utterances }
    : { ...corpus, utterances, folds: foldsWithout(corpus.folds, unreadable) };
}

/** Folds without some utterances. */
export function foldsWithout<Given extends GivenFold>(
  folds: readonly Given[],
  unreadable: readonly Pick<UnreadableUtterance, 'id'>[],
): Given[] {
  const ids = new Set(unreadable.map(({ id }) => id));
  const kept = (list: readonly string[]) => list.filter((id) => !ids.has(id));
  return folds.map((fold) => ({
    ...fold,
    train: kept(fold.train),
    ...(fold.validation !== undefined && { validation: kept(fold.validation) }),
    test: kept(fold.test),
  }));
}
