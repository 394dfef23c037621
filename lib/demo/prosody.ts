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
  /** Factor of the pauses inside the stretch. */
  pause: number;
}

interface Spread {
  mean: number;
  /** Standard deviation from utterance to utterance; from phrase to phrase half as much again is added. */
  deviation: number;
}

// Directions as surveys of vocal expression give them (Banse & Scherer, 1996; Juslin & Laukka, 2003): anger higher, louder,
// faster, sharper; joy higher, with the widest range; sadness lower, softer, slower, flatter. Sizes are moderate and spreads
// wide enough for neighbours to overlap. Range and rate are logarithms of the factor.
const STYLES: Record<Emotion, Record<keyof Prosody, Spread>> = {
  angry: {
    pitch: { mean: 2.0, deviation: 1.1 },
    range: { mean: Math.log(1.3), deviation: 0.2 },
    rate: { mean: Math.log(1.12), deviation: 0.05 },
    gain: { mean: 4, deviation: 1.5 },
    tilt: { mean: 3.5, deviation: 1.2 },
    pause: { mean: Math.log(0.75), deviation: 0.2 },
  },
  happy: {
    pitch: { mean: 2.6, deviation: 1.1 },
    range: { mean: Math.log(1.55), deviation: 0.2 },
    rate: { mean: Math.log(1.05), deviation: 0.05 },
    gain: { mean: 1.5, deviation: 1.5 },
    tilt: { mean: 1, deviation: 1 },
    pause: { mean: Math.log(0.9), deviation: 0.2 },
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
    pitch: { mean: -1.8, deviation: 1 },
    range: { mean: Math.log(0.55), deviation: 0.2 },
    rate: { mean: Math.log(0.86), deviation: 0.05 },
    gain: { mean: -4, deviation: 1.5 },
    tilt: { mean: -3, deviation: 1.2 },
    pause: { mean: Math.log(1.4), deviation: 0.2 },
  },
};

function draw(style: Record<keyof Prosody, Spread>, random: Random, share: number): Record<keyof Prosody, number> {
  const spread = (key: keyof Prosody): number => random.normal(0, style[key].deviation * share);
  return {
    pitch: spread('pitch'),
    range: spread('range'),
    rate: spread('rate'),
    gain: spread('gain'),
    tilt: spread('tilt'),
    pause: spread('pause'),
  };
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
