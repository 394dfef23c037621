// JL-Corpus: four speakers of New Zealand English, five primary and five secondary emotions. A name is speaker, emotion,
// sentence, session of recording.
import { bySpeaker } from './dataset.js';
import { namedFiles } from './namedFiles.js';

export const jlCorpus = namedFiles({
  name: 'jl-corpus',
  layout: 'JL(wav+txt)/female1_angry_10a_1.wav',
  schemes: {
    'jl-10': 'angry,anxious,apologetic,assertive,concerned,encouraging,excited,happy,neutral,sad',
    'jl-5': 'angry,excited,happy,neutral,sad',
  },
  pattern:
    /(?:^|\/)(((?:fe)?male[12])_(angry|anxious|apologetic|assertive|concerned|encouraging|excited|happy|neutral|sad)_\d+[ab]_\d)$/,
  read: (id, speaker, label) => ({ id, label, speaker }),
  customary: bySpeaker,
});
