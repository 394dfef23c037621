// Joined utterances beside the real ones: what stage 4 is given when `align.concatenate` asks for them. They are made of
// training utterances alone, and their samples are put together when they are read, from those of the run's audio.
import { mfcc } from '../audio/mfcc.js';
import type { ConcatenationSettings } from '../config/types.js';
import type { Utterance } from '../corpus/types.js';
import { EmoframeError } from '../errors.js';
import { Geometry } from '../model/geometry.js';
import { drawJoined, type JoinCandidate, type JoinedUtterance } from './concatenationPlan.js';
import { measureSamples, type StageContext, type UtteranceAudio, utteranceOf } from './context.js';

/** A part is made louder or softer by this factor at most: what is nearly silent would become noise. */
const MAX_GAIN = 10;

/**
 * The same stage with joined utterances in its training part, as `align.concatenate` says; with a share of 0 the context
 * itself. Validation and test stay as they are. Joined utterances are no longer than `align.maxSeconds`, which cuts others
 * off; all follows from the run's seed.
 *
 * @throws `ERR_CONFIG` when no label is that of neutral speech; `ERR_CORPUS` when no utterances can be joined
 * @example
 * export const align = async (context: StageContext) => trainClassifier(await withConcatenations(context), task);
 */
export async function withConcatenations(context: StageContext): Promise<StageContext> {
  const { fold, labels, neutral, seed } = context;
  const { concatenate: settings, maxSeconds } = context.config.align;
  if (settings.share === 0) return context;
  if (!labels.includes(neutral)) {
    throw new EmoframeError(
      'ERR_CONFIG',
      `align.concatenate joins emotional and neutral speech, but there is no label '${neutral}' among ${labels.join(', ')}: set neutralLabel in the config, or align.concatenate.share to 0.`,
    );
  }
  const usable = fold.train.map((id) => utteranceOf(context, id)).filter(isUsable(labels, neutral));
  await measureSamples(
    context,
    usable.map(({ id }) => id),
  );
  const candidates = usable.map((utterance) => ({ utterance, samples: context.sampleCounts.get(utterance.id)! }));
  const maxSamples = Math.floor(maxSeconds * Geometry.sampleRate);
  const options = { settings, neutral, maxSamples, seed };
  const joined = await drawJoined(candidates, new Set(context.utterances.keys()), options);
  const alone = labels.find((label) => label !== neutral && !joined.some(({ utterance }) => utterance.label === label));
  if (alone !== undefined) throw nothingJoined(context, alone, usable);
  const wanted = Math.round(settings.share * usable.length);
  await context.report.note(
    `${joined.length} joined utterances beside ${fold.train.length} of the corpus (about ${wanted} were asked for)`,
    'concatenation',
    { joined: joined.length, utterances: fold.train.length },
  );
  return {
    ...context,
    fold: { ...fold, train: [...fold.train, ...joined.map(({ utterance }) => utterance.id)] },
    utterances: new Map([
      ...context.utterances,
      ...joined.map(({ utterance }): [string, Utterance] => [utterance.id, utterance]),
    ]),
    // A copy: in another fold the same parts may be joined with other pauses.
    sampleCounts: new Map([
      ...context.sampleCounts,
      ...joined.map(({ utterance, samples }): [string, number] => [utterance.id, samples]),
    ]),
    audio: new JoinedAudio(context.audio, joined, settings),
  };
}

/** Only who is known to be one speaker is joined, and only what is neutral throughout stands beside an emotion. */
function isUsable(
  labels: readonly string[],
  neutral: string,
): (utterance: Utterance) => utterance is JoinCandidate['utterance'] {
  return (utterance): utterance is JoinCandidate['utterance'] =>
    utterance.label !== undefined &&
    labels.includes(utterance.label) &&
    utterance.speaker !== undefined &&
    !(utterance.label === neutral && (utterance.segments?.length ?? 0) > 0);
}

function nothingJoined({ fold, config }: StageContext, label: string, usable: readonly Utterance[]): EmoframeError {
  const { maxSeconds } = config.align;
  const reason = usable.some((utterance) => utterance.label === label)
    ? `none of its utterances leaves room within align.maxSeconds (${maxSeconds}) for the speech of the same speaker that align.concatenate.patterns asks for`
    : 'no training utterance of it has a speaker, and only speech of one speaker is joined';
  return new EmoframeError(
    'ERR_CORPUS',
    `Fold ${fold.name} has nothing of '${label}' to join: ${reason}. Change that, or set align.concatenate.share to 0.`,
  );
}

/** The audio of joined utterances, and of all others from another source. */
export class JoinedAudio implements UtteranceAudio {
  readonly #joined: ReadonlyMap<string, JoinedUtterance>;

  constructor(
    private readonly source: UtteranceAudio,
    joined: readonly JoinedUtterance[],
    private readonly settings: Pick<ConcatenationSettings, 'fadeSeconds' | 'matchLevels'>,
  ) {
    this.#joined = new Map(joined.map((made) => [made.utterance.id, made]));
  }

  async get(utterance: Utterance, signal?: AbortSignal): Promise<Float32Array> {
    const joined = this.#joined.get(utterance.id);
    return joined === undefined ? this.source.get(utterance, signal) : this.#join(joined, signal);
  }

  async mfcc(utterance: Utterance, signal?: AbortSignal): Promise<{ features: Float32Array; frames: number }> {
    if (!this.#joined.has(utterance.id)) return this.source.mfcc(utterance, signal);
    return mfcc(await this.get(utterance, signal));
  }

  async #join({ parts, pauses, samples: length }: JoinedUtterance, signal?: AbortSignal): Promise<Float32Array> {
    const samples = new Float32Array(length);
    const fade = Math.round(this.settings.fadeSeconds * Geometry.sampleRate);
    let first: number | undefined;
    let offset = 0;
    for (const [index, { utterance, start, count }] of parts.entries()) {
      const whole = await this.source.get(utterance, signal);
      const level = this.settings.matchLevels ? rootMeanSquare(whole) : 1;
      first ??= level;
      const seams = { before: index > 0, after: index < parts.length - 1 };
      const part = samples.subarray(offset, offset + count);
      addPart(part, whole.subarray(start, start + count), gainBetween(level, first), fade, seams);
      offset += count + (pauses[index] ?? 0);
    }
    return samples;
  }
}

function rootMeanSquare(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return Math.sqrt(sum / Math.max(samples.length, 1));
}

/** The factor that gives a part the first one's level; silence stays as it is. */
function gainBetween(level: number, first: number): number {
  if (level === 0 || first === 0) return 1;
  return Math.min(Math.max(first / level, 1 / MAX_GAIN), MAX_GAIN);
}

/** Copies a part to its place; it rises from nothing after a seam, and falls to nothing before one. */
function addPart(
  target: Float32Array,
  source: Float32Array,
  gain: number,
  fade: number,
  seams: { before: boolean; after: boolean },
): void {
  const length = Math.min(fade, Math.floor(source.length / 2));
  for (let at = 0; at < source.length; at++) {
    const rise = seams.before && at < length ? (at + 0.5) / length : 1;
    const left = source.length - 1 - at;
    const fall = seams.after && left < length ? (left + 0.5) / length : 1;
    target[at] = source[at]! * gain * rise * fall;
  }
}
