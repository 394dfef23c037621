// TESS: two women say 200 words in a carrier phrase. A name is speaker, word, emotion.
import { bySpeaker } from './dataset.js';
import { namedFiles } from './namedFiles.js';

export const tess = namedFiles({
  name: 'tess',
  layout: 'OAF_angry/OAF_back_angry.wav',
  // One file of the release begins with `OA`.
  pattern: /(?:^|\/)(OAF?|YAF)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)$/,
  emotions: { fear: 'fearful', ps: 'surprised' },
  read: (prefix, word, label) => {
    const speaker = prefix === 'YAF' ? 'YAF' : 'OAF';
    return { id: `${speaker}_${word}_${label}`, label, speaker };
  },
  customary: bySpeaker,
});
