// CREMA-D: 91 actors, twelve sentences. A name is actor, sentence, emotion, intensity.
import { namedFiles } from './namedFiles.js';

const EMOTIONS: Record<string, string> = {
  ANG: 'angry',
  DIS: 'disgust',
  FEA: 'fearful',
  HAP: 'happy',
  NEU: 'neutral',
  SAD: 'sad',
};

export const cremaD = namedFiles({
  name: 'crema-d',
  layout: 'AudioWAV/1001_DFA_ANG_XX.wav',
  // One file of the release has `X` for its intensity.
  pattern: /(?:^|\/)((1\d{3})_[A-Z]{3}_(ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?))$/,
  read: ([, id, speaker, emotion]) => ({ id, label: EMOTIONS[emotion], speaker }),
  customary: () => ({ scheme: 'speakers', count: 5 }),
});
