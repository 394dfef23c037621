import type { Random } from './random.js';

export const EMOTIONS = ['angry', 'happy', 'neutral', 'sad'] as const;
export type Emotion = (typeof EMOTIONS)[number];

/** How one phrase is spoken, relative to the voice at rest. */
export interface Prosody {
  /** Semitones. */
  pitch: number;
  /** Factor of the pitch range. */
  range: number;
  /** Factor of the speaking rate. */
  rate: number;
  /** Loudness, decibels. */
  gain: number;
  /** Vocal effort: high-frequency shelf, decibels. */
  tilt: number;
  /** Factor of the pauses inside the emotional segment. */
  pause: number;
}

interface Spread {
  mean: number;
  /** Standard deviation from utterance to utterance; from phrase to phrase half as much again is added. */
  deviation: number;
}

// Directions and order of sizes as surveys of acted emotion give them (Murray & Arnott, 1993; Banse & Scherer, 1996; Juslin &
// Laukka, 2003): anger much higher, louder, faster, sharper; joy higher still, with the widest range; sadness lower, softer,
// much slower, flatter. Spreads are wide enough for neighbours to overlap. Range and rate are logarithms of the factor.
const STYLES: Record<Emotion, Record<keyof Prosody, Spread>> = {
  angry: {
    pitch: { mean: 4.5, deviation: 1.2 },
    range: { mean: Math.log(1.5), deviation: 0.2 },
    rate: { mean: Math.log(1.18), deviation: 0.06 },
    gain: { mean: 7, deviation: 1.5 },
    tilt: { mean: 6, deviation: 1.5 },
    pause: { mean: Math.log(0.7), deviation: 0.2 },
  },
  happy: {
    pitch: { mean: 5.5, deviation: 1.2 },
    range: { mean: Math.log(2), deviation: 0.2 },
    rate: { mean: Math.log(1.08), deviation: 0.06 },
    gain: { mean: 3, deviation: 1.5 },
    tilt: { mean: 2, deviation: 1.2 },
    pause: { mean: Math.log(0.85), deviation: 0.2 },
  },
  neutral: {
    pitch: { mean: 0, deviation: 0.8 },
    range: { mean: 0, deviation: 0.15 },
    rate: { mean: 0, deviation: 0.04 },
    gain: { mean: 0, deviation: 1.2 },
    tilt: { mean: 0, deviation: 0.8 },
    pause: { mean: 0, deviation: 0.2 },
  },
  sad: {
    pitch: { mean: -2.5, deviation: 1 },
    range: { mean: Math.log(0.45), deviation: 0.2 },
    rate: { mean: Math.log(0.78), deviation: 0.06 },
    gain: { mean: -6, deviation: 1.5 },
    tilt: { mean: -5, deviation: 1.5 },
    pause: { mean: Math.log(1.6), deviation: 0.2 },
  },
};

const PARTS = ['pitch', 'range', 'rate', 'gain', 'tilt', 'pause'] as const;

function draw(style: Record<keyof Prosody, Spread>, random: Random, share: number): Record<keyof Prosody, number> {
  const drawn = PARTS.map((part) => [part, random.normal(0, style[part].deviation * share)]);
  return Object.fromEntries(drawn) as Record<keyof Prosody, number>;
}

/** Draws how each of `count` phrases of one emotion in one utterance is spoken. */
export function drawProsody(emotion: Emotion, count: number, random: Random): Prosody[] {
  const style = STYLES[emotion];
  const utterance = draw(style, random, 1);
  return Array.from({ length: count }, () => {
    const phrase = draw(style, random, 0.5);
    const value = (key: keyof Prosody): number => style[key].mean + utterance[key] + phrase[key];
    return {
      pitch: value('pitch'),
      range: Math.exp(value('range')),
      rate: Math.exp(value('rate')),
      gain: value('gain'),
      tilt: value('tilt'),
      pause: Math.exp(value('pause')),
    };
  });
}
