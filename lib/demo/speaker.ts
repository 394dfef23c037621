import { resample, SAMPLE_RATE } from '../audio/resample.js';
import type { Segment } from '../corpus/types.js';
import { joinFloats } from '../float32.js';
import { drawProsody, EMOTIONS, type Emotion, type Prosody } from './prosody.js';
import { Random } from './random.js';
import { fadeEnds, highShelf, rms, trimSilence } from './signal.js';

/** RMS of a phrase at rest. */
const LEVEL = 0.03;
/** Where the high shelf that stands for vocal effort starts, Hz. */
const SHELF_HERTZ = 1200;

/** Who says the phrases: a synthesiser, or one who was recorded. */
export interface Talker {
  /** Names the utterances and their stream of random numbers. */
  speaker: string;
  /** Sample rate of what `say` returns, in hertz. */
  sampleRate: number;
  /** High-frequency shelf at rest, decibels. */
  tilt: number;
  /** Distinct phrases of one utterance of about 2 to 8 seconds. */
  phrases(random: Random): string[];
  /** The phrases of an utterance in order, in [-1, 1]; silence at their ends, level and vocal effort are handled here. */
  say(phrases: readonly string[], prosody: readonly Prosody[]): Promise<Float32Array[]>;
}

export interface DemoUtterance {
  id: string;
  label: Emotion;
  /** At 16 kHz. */
  samples: Float32Array;
  /** The emotional segment; empty for a neutral utterance. Time outside is neutral. */
  segments: Segment[];
  text: string[];
}

/** The phrases `[start, end)` that carry the emotion: about half of them, anywhere. */
function emotionalPart(count: number, random: Random): [number, number] {
  const length = random.uniform() < 0.5 ? Math.floor(count / 2) : Math.ceil(count / 2);
  const start = random.integer(count - length + 1);
  return [start, start + length];
}

/** A phrase without silence at its ends, at its level. */
function finishPhrase(talker: Talker, prosody: Prosody, raw: Float32Array): Float32Array {
  const phrase = trimSilence(raw, talker.sampleRate).slice();
  highShelf(phrase, talker.sampleRate, SHELF_HERTZ, talker.tilt + prosody.tilt);
  const gain = (LEVEL * 10 ** (prosody.gain / 20)) / rms(phrase);
  for (let i = 0; i < phrase.length; i++) phrase[i]! *= gain;
  fadeEnds(phrase, Math.round(0.003 * talker.sampleRate));
  return phrase;
}

/** White noise through a one-pole low pass: a room, not a hiss. `level` is its RMS. */
function addNoise(samples: Float32Array, level: number, random: Random): void {
  const noise = new Float32Array(samples.length);
  let state = 0;
  for (let i = 0; i < noise.length; i++) {
    state = 0.85 * state + random.uniform(-1, 1);
    noise[i] = state;
  }
  const scale = level / rms(noise);
  for (let i = 0; i < samples.length; i++) samples[i]! += scale * noise[i]!;
}

async function makeUtterance(
  talker: Talker,
  id: string,
  label: Emotion,
  phrases: string[],
  random: Random,
): Promise<DemoUtterance> {
  const count = phrases.length;
  const [first, end] = emotionalPart(count, random);
  const neutral = drawProsody('neutral', count, random);
  const emotional = drawProsody(label, end - first, random);
  const prosody = neutral.map((rest, i) => (i >= first && i < end ? emotional[i - first]! : rest));
  const said = await talker.say(phrases, prosody);
  const parts: Float32Array[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  let length = 0;
  const add = (part: Float32Array): void => {
    parts.push(part);
    length += part.length;
  };
  const rate = talker.sampleRate;
  const silence = (seconds: number): void => add(new Float32Array(Math.round(seconds * rate)));

  silence(random.uniform(0.05, 0.2));
  for (let i = 0; i < count; i++) {
    // A pause belongs to the emotion only if the phrases on both sides do.
    if (i > 0) silence(random.uniform(0.12, 0.3) * (i > first && i < end ? prosody[i]!.pause : 1));
    starts.push(length);
    add(finishPhrase(talker, prosody[i]!, said[i]!));
    ends.push(length);
  }
  silence(random.uniform(0.05, 0.2));

  const samples = (await resample(joinFloats(parts), rate)).slice();
  // Microphone and room: neither the level nor the noise floor may reveal the label.
  addNoise(samples, LEVEL * 10 ** (-random.uniform(20, 35) / 20), random);
  const gain = 10 ** (random.uniform(-6, 6) / 20);
  const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const scale = Math.min(gain, 0.95 / peak);
  for (let i = 0; i < samples.length; i++) samples[i]! *= scale;

  const segments = label === 'neutral' ? [] : [{ start: starts[first]! / rate, end: ends[end - 1]! / rate, label }];
  return { id, label, samples, segments, text: phrases };
}

/**
 * The utterances of one talker: rounds of four, one per emotion, all with the same phrases in different order, until their total
 * length is `seconds`. Labels are thus balanced and independent of the words.
 */
export async function* makeSpeaker(talker: Talker, seed: number, seconds: number): AsyncGenerator<DemoUtterance> {
  const random = new Random(seed, talker.speaker);
  let made = 0;
  // Ends with the round that comes nearest, judged by the mean length of a round.
  for (let round = 0; round === 0 || (made * (round + 0.5)) / round < seconds; round++) {
    const phrases = talker.phrases(random);
    for (const label of random.shuffle([...EMOTIONS])) {
      const id = `${talker.speaker}-${String(round).padStart(3, '0')}-${label}`;
      const utterance = await makeUtterance(talker, id, label, random.shuffle([...phrases]), random);
      made += utterance.samples.length / SAMPLE_RATE;
      yield utterance;
    }
  }
}
