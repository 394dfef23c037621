// EmoV-DB: four speakers of English. The speaker is in a folder's name, the emotion in the file's: amused_57-84_0057.wav.
import { bySpeaker } from './dataset.js';
import { namedFiles } from './namedFiles.js';

export const emovDb = namedFiles({
  name: 'emov-db',
  layout: 'bea_Amused/amused_1-15_0001.wav',
  // Some files have a capital, some an underscore for the dash.
  pattern:
    /(?:^|\/)(bea|jenie|josh|sam)(?:_[a-z]+)?\/(?:.*\/)?((amused|anger|disgust|neutral|sleepiness)_\d+[-_]\d+_\d+)$/i,
  emotions: { anger: 'angry', sleepiness: 'sleepy' },
  read: (speaker, name, emotion) => ({
    id: `${speaker.toLowerCase()}_${name}`,
    label: emotion.toLowerCase(),
    speaker: speaker.toLowerCase(),
  }),
  customary: bySpeaker,
});
