// SAVEE: four men. A name is emotion and sentence; the speaker is its folder, or comes first where all files lie in one.
import { bySpeaker } from './dataset.js';
import { namedFiles } from './namedFiles.js';

export const savee = namedFiles({
  name: 'savee',
  layout: 'AudioData/DC/a01.wav, or DC_a01.wav',
  pattern: /(?:^|\/)(DC|JE|JK|KL)[/_]((a|d|f|h|n|sa|su)\d\d)$/,
  emotions: { a: 'angry', d: 'disgust', f: 'fearful', h: 'happy', n: 'neutral', sa: 'sad', su: 'surprised' },
  read: (speaker, name, label) => ({ id: `${speaker}_${name}`, label, speaker }),
  customary: bySpeaker,
});
