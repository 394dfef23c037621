// EMO-DB, the Berlin database: ten speakers, ten sentences. A name is speaker, sentence, emotion (a German initial), version.
import { bySpeaker } from './dataset.js';
import { namedFiles } from './namedFiles.js';

export const emoDb = namedFiles({
  name: 'emo-db',
  layout: 'wav/03a01Fa.wav',
  pattern: /(?:^|\/)((03|08|09|1[0-6])(?:a0[12457]|b0[1239]|b10)([WLEAFTN])[a-z]?)$/,
  emotions: { W: 'angry', L: 'bored', E: 'disgust', A: 'fearful', F: 'happy', T: 'sad', N: 'neutral' },
  read: (id, speaker, label) => ({ id, label, speaker }),
  customary: bySpeaker,
});
