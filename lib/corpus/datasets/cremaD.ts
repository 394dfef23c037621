// CREMA-D: 91 actors, twelve sentences. A name is actor, sentence, emotion, intensity.
import { namedFiles } from './namedFiles.js';

export const cremaD = namedFiles({
  name: 'crema-d',
  layout: 'AudioWAV/1001_DFA_ANG_XX.wav',
  // One file of the release has `X` for its intensity.
  pattern: /(?:^|\/)((1\d{3})_[A-Z]{3}_(ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?))$/,
  emotions: { ANG: 'angry', DIS: 'disgust', FEA: 'fearful', HAP: 'happy', NEU: 'neutral', SAD: 'sad' },
  read: (id, speaker, label) => ({ id, label, speaker }),
  customary: () => ({ scheme: 'speakers', count: 5 }),
});
