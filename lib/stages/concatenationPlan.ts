// Which training utterances are joined, drawn before any is read: neutral and emotional speech of one speaker, as speech
// emotion diarization makes its training data (Wang et al., "Speech Emotion Diarization: Which Emotion Appears When?", 2023),
// so that the place of an emotion is known to the sample. A pure function of the seed and the utterances' lengths.
import type { ConcatenationPattern, ConcatenationSettings } from '../config/types.js';
import type { Segment, Utterance } from '../corpus/types.js';
import { Geometry } from '../model/geometry.js';
import { PhiloxStream, type RandomSource, type Seed, sites } from '../random/philox.js';
import { yieldWhenDue } from '../yield.js';

/** Less of an utterance is not joined to another, in samples: half a second. */
export const SHORTEST_PART = Geometry.sampleRate / 2;
/** How often another partner is drawn when the same utterances were joined already. */
const ATTEMPTS = 8;

/** A training utterance that may be joined to another; a neutral one has no emotion anywhere. */
export interface JoinCandidate {
  utterance: Utterance & { label: string; speaker: string };
  /** Its length. */
  samples: number;
}

/** A part of an utterance. */
export interface JoinedPart {
  utterance: Utterance;
  /** Its first sample, counted from the utterance's start. */
  start: number;
  /** Samples. */
  count: number;
}

/** An utterance that is made of others. */
export interface JoinedUtterance {
  /** Its id names the parts in order; its label is the emotional part's, and its segments are known. */
  utterance: Utterance;
  parts: JoinedPart[];
  /** Samples of silence after each part but the last. */
  pauses: number[];
  /** Samples of all. */
  samples: number;
}

export interface JoinOptions {
  settings: Pick<ConcatenationSettings, 'share' | 'patterns' | 'pauseSeconds'>;
  /** The label of speech without emotion. */
  neutral: string;
  /** Samples of a joined utterance at most. */
  maxSamples: number;
  seed: Seed;
}

/**
 * Draws joined utterances: of each label as many as its utterances times `share`, every utterance being the one whose label
 * counts about equally often. Emotional utterances are whole; of neutral ones what is farthest from the seam is cut off where
 * there is no room for it. What has no partner that fits makes none.
 *
 * @param candidates in an order that does not change.
 * @param taken ids that are in use.
 */
export async function drawJoined(
  candidates: readonly JoinCandidate[],
  taken: ReadonlySet<string>,
  options: JoinOptions,
): Promise<JoinedUtterance[]> {
  const random = new PhiloxStream(options.seed, 0, sites.concatenation);
  const drawer = new Drawer(candidates, options, random);
  const ids = new Set(taken);
  const joined: JoinedUtterance[] = [];
  for (const label of [...new Set(candidates.map(({ utterance }) => utterance.label))].sort()) {
    const members = random.shuffle(candidates.filter(({ utterance }) => utterance.label === label));
    const wanted = Math.round(options.settings.share * members.length);
    for (let n = 0; n < wanted; n++) {
      await yieldWhenDue();
      const made = drawer.draw(members[n % members.length]!, ids);
      if (made === undefined) continue;
      ids.add(made.utterance.id);
      joined.push(made);
    }
  }
  return joined;
}

class Drawer {
  /** Candidates of each speaker and label. */
  readonly #pools = new Map<string, JoinCandidate[]>();

  constructor(
    candidates: readonly JoinCandidate[],
    private readonly options: JoinOptions,
    private readonly random: RandomSource,
  ) {
    for (const candidate of candidates) {
      if (candidate.samples < SHORTEST_PART) continue;
      const { speaker, label } = candidate.utterance;
      const pool = this.#pools.get(poolKey(speaker, label));
      if (pool === undefined) this.#pools.set(poolKey(speaker, label), [candidate]);
      else pool.push(candidate);
    }
  }

  /** A joined utterance of an anchor's label that is not there yet; undefined: there is none. */
  draw(anchor: JoinCandidate, taken: ReadonlySet<string>): JoinedUtterance | undefined {
    if (anchor.samples < SHORTEST_PART) return undefined;
    const patterns = this.options.settings.patterns.filter((pattern) => this.#isPossible(anchor, pattern));
    if (patterns.length === 0) return undefined;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const made = this.#make(anchor, patterns[this.random.integer(patterns.length)]!);
      if (!taken.has(made.utterance.id)) return made;
    }
    return undefined;
  }

  #isNeutral({ utterance }: JoinCandidate): boolean {
    return utterance.label === this.options.neutral;
  }

  /** What may stand beside an anchor, other than itself. */
  #partners(anchor: JoinCandidate, pattern: ConcatenationPattern): readonly JoinCandidate[] {
    const { speaker, label } = anchor.utterance;
    const { neutral } = this.options;
    const pool = this.#pools.get(poolKey(speaker, pattern === 'same' ? label : neutral)) ?? [];
    if (pattern !== 'same') return pool;
    // Neutral speech is cut where it has to be.
    const room = label === neutral ? Number.POSITIVE_INFINITY : this.options.maxSamples - anchor.samples;
    return pool.filter((other) => other !== anchor && other.samples <= room);
  }

  #isPossible(anchor: JoinCandidate, pattern: ConcatenationPattern): boolean {
    const { maxSamples } = this.options;
    if (this.#isNeutral(anchor) && (pattern !== 'same' || maxSamples < 2 * SHORTEST_PART)) return false;
    const others = this.#partners(anchor, pattern).length;
    if (pattern === 'same') return others > 0;
    const needed = pattern === 'neutral-emotional-neutral' ? 2 : 1;
    return others >= needed && maxSamples - anchor.samples >= needed * SHORTEST_PART;
  }

  #make(anchor: JoinCandidate, pattern: ConcatenationPattern): JoinedUtterance {
    const partners = this.#partners(anchor, pattern);
    const chosen = this.random.integer(partners.length);
    const partner = partners[chosen]!;
    // Another one: those behind the first move up by one.
    const other = () => {
      const index = this.random.integer(partners.length - 1);
      return partners[index < chosen ? index : index + 1]!;
    };
    const sequence = {
      'neutral-emotional': () => [partner, anchor],
      'emotional-neutral': () => [anchor, partner],
      'neutral-emotional-neutral': () => [partner, anchor, other()],
      same: () => [anchor, partner],
    }[pattern]();
    const neutral = sequence.filter((part) => this.#isNeutral(part));
    const whole = sequence.filter((part) => !this.#isNeutral(part)).reduce((sum, { samples }) => sum + samples, 0);
    const room = this.options.maxSamples - whole;
    const pauses = this.#pauses(sequence.length - 1, room - neutral.length * SHORTEST_PART);
    const lengths = shareRoom(
      neutral.map(({ samples }) => samples),
      room - pauses.reduce((sum, pause) => sum + pause, 0),
    );
    const parts = sequence.map((part, index) => {
      const count = this.#isNeutral(part) ? lengths[neutral.indexOf(part)]! : part.samples;
      // What is nearest to the seam is kept: the end of the first part, the start of the last.
      return { utterance: part.utterance, start: index === 0 ? part.samples - count : 0, count };
    });
    return this.#describe(anchor, parts, pauses);
  }

  #pauses(seams: number, room: number): number[] {
    const longest = Math.round(this.options.settings.pauseSeconds * Geometry.sampleRate);
    const bound = Math.min(longest, Math.floor(room / seams));
    return Array.from({ length: seams }, () => (bound > 0 ? this.random.integer(bound + 1) : 0));
  }

  #describe({ utterance }: JoinCandidate, parts: JoinedPart[], pauses: number[]): JoinedUtterance {
    const { audio, label, speaker, session } = utterance;
    const segments: Segment[] = [];
    let offset = 0;
    for (const [index, part] of parts.entries()) {
      for (const segment of segmentsOf(part, offset, this.options.neutral)) segments.push(segment);
      offset += part.count + (pauses[index] ?? 0);
    }
    const id = parts.map((part) => part.utterance.id).join(' + ');
    return {
      utterance: { id, audio, label, speaker, ...(session === undefined ? {} : { session }), segments },
      parts,
      pauses,
      samples: offset,
    };
  }
}

function poolKey(speaker: string, label: string): string {
  return JSON.stringify([speaker, label]);
}

/** Divides room among utterances that may be cut: evenly, what one does not need being the others'. */
function shareRoom(lengths: readonly number[], room: number): number[] {
  const shares = new Array<number>(lengths.length);
  const shortestFirst = [...lengths.keys()].sort((a, b) => lengths[a]! - lengths[b]!);
  let left = room;
  for (const [done, index] of shortestFirst.entries()) {
    shares[index] = Math.min(lengths[index]!, Math.floor(left / (lengths.length - done)));
    left -= shares[index];
  }
  return shares;
}

/** Emotion in a part, in seconds of what it is joined into, where it begins at sample `offset`. */
function segmentsOf({ utterance, count }: JoinedPart, offset: number, neutral: string): Segment[] {
  const { label, segments } = utterance;
  if (label === undefined || label === neutral) return [];
  const [from, to] = [offset / Geometry.sampleRate, (offset + count) / Geometry.sampleRate];
  // An utterance of an emotion whose place is not known is taken for emotional throughout, as in the paper.
  if (segments === undefined) return [{ start: from, end: to, label }];
  // Times are rounded, and so may pass the end.
  return segments.map(({ start, end, label }) => ({ start: start + from, end: Math.min(end + from, to), label }));
}
