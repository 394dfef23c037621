/** A synthetic speaker: properties of the voice that are independent of emotion. */
export interface Voice {
  speaker: string;
  session: string;
  /** eSpeak NG language and variant (formants, glottal source). */
  identifier: string;
  /** Pitch setting at rest, 0 to 99; 50 is the variant's own. */
  pitch: number;
  /** Pitch range setting at rest; 50 is the variant's own. */
  range: number;
  /** Words a minute at rest. */
  rate: number;
  /** High-frequency shelf at rest, decibels. */
  tilt: number;
}

/** Two voices per session, all different, so that a held-out session has new voices. */
export const VOICES: readonly Voice[] = [
  { speaker: 's1f', session: 's1', identifier: 'en-us+f2', pitch: 50, range: 50, rate: 172, tilt: 0 },
  { speaker: 's1m', session: 's1', identifier: 'en-us+m3', pitch: 52, range: 46, rate: 166, tilt: -1 },
  { speaker: 's2f', session: 's2', identifier: 'en-gb-x-rp+f3', pitch: 46, range: 54, rate: 178, tilt: 1 },
  { speaker: 's2m', session: 's2', identifier: 'en-gb-scotland+m1', pitch: 48, range: 52, rate: 174, tilt: 0.5 },
  { speaker: 's3f', session: 's3', identifier: 'en-us+Annie', pitch: 44, range: 46, rate: 164, tilt: -0.5 },
  { speaker: 's3m', session: 's3', identifier: 'en-us+Michael', pitch: 58, range: 50, rate: 180, tilt: 1 },
  { speaker: 's4f', session: 's4', identifier: 'en-029+f1', pitch: 52, range: 50, rate: 176, tilt: 0.5 },
  { speaker: 's4m', session: 's4', identifier: 'en-gb-x-gbclan+m7', pitch: 54, range: 54, rate: 168, tilt: -0.5 },
  { speaker: 's5f', session: 's5', identifier: 'en-us+linda', pitch: 46, range: 56, rate: 170, tilt: 0 },
  { speaker: 's5m', session: 's5', identifier: 'en-gb-x-gbcwmd+m2', pitch: 50, range: 48, rate: 176, tilt: 0.5 },
];
