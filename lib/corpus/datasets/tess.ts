// TESS: two women say 200 words in a carrier phrase. A name is speaker, word, emotion.
import { bySpeaker } from './dataset.js';
import { namedFiles } from './namedFiles.js';

const EMOTIONS: Record<string, string> = {
  angry: 'angry',
  disgust: 'disgust',
  fear: 'fearful',
  happy: 'happy',
  neutral: 'neutral',
  ps: 'surprised',
  sad: 'sad',
};

export const tess = namedFiles({
  name: 'tess',
  layout: 'OAF_angry/OAF_back_angry.wav',
  // One file of the release begins with `OA`.
  pattern: /(?:^|\/)((OAF?|YAF)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad))$/,
  read: ([, , prefix, word, emotion]) => {
    const speaker = prefix === 'YAF' ? 'YAF' : 'OAF';
    return { id: `${speaker}_${word}_${emotion}`, label: EMOTIONS[emotion], speaker };
  },
  customary: bySpeaker,
});
