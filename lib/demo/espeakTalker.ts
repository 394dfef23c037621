import type { Prosody } from './prosody.js';
import type { Talker } from './speaker.js';
import type { Synthesizer } from './synthesizer.js';
import { makePhrases } from './texts.js';
import type { Voice } from './voices.js';

/** Pitch settings of eSpeak that make one semitone. */
const PITCH_STEPS = 5.8;

/** One of the demo's voices, who says everyday statements. */
export function espeakTalker(synthesizer: Synthesizer, voice: Voice): Talker {
  const say = (phrase: string, prosody: Prosody): Float32Array =>
    synthesizer.speak(phrase, {
      pitch: voice.pitch + PITCH_STEPS * prosody.pitch,
      range: voice.range * prosody.range,
      rate: voice.rate * prosody.rate,
    });
  return {
    speaker: voice.speaker,
    sampleRate: synthesizer.sampleRate,
    tilt: voice.tilt,
    phrases: makePhrases,
    say: async (phrases, prosody) =>
      phrases.map((phrase, i) => say(`${phrase}${i + 1 < phrases.length ? ',' : '.'}`, prosody[i]!)),
  };
}
