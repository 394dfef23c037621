// RAVDESS: 24 actors, two sentences, spoken and sung. A name is seven numbers: modality, vocal channel, emotion, intensity,
// statement, repetition, actor.
import { type Named, namedFiles } from './namedFiles.js';

const EMOTIONS = ['neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised'];
const MODALITIES: Record<string, string | undefined> = {
  '01': 'video with sound',
  '02': 'video without sound',
  '03': 'audio',
};
const CHANNELS: Record<string, string | undefined> = { '01': 'speech', '02': 'song' };

function read(wanted: 'speech' | 'song', ...[id = '', modality = '', channel = '', emotion, actor]: string[]): Named {
  const label = EMOTIONS[Number(emotion) - 1];
  const [medium, voice] = [MODALITIES[modality], CHANNELS[channel]];
  if (medium === undefined || voice === undefined || label === undefined) {
    return { reason: 'its name has a modality, channel or emotion that RAVDESS does not have' };
  }
  if (medium !== 'audio') return { part: medium };
  if (voice !== wanted) return { part: voice };
  return { id, label, speaker: `Actor_${actor}` };
}

const of = (wanted: 'speech' | 'song') =>
  namedFiles({
    name: wanted === 'speech' ? 'ravdess' : 'ravdess-song',
    layout: `Actor_*/03-${wanted === 'speech' ? '01' : '02'}-*.wav, seven numbers a name`,
    // Calm joins neutral in many papers.
    ...(wanted === 'speech' && {
      schemes: {
        'ravdess-8': EMOTIONS.join(','),
        'ravdess-7': 'angry,disgust,fearful,happy,neutral=neutral+calm,sad,surprised',
      },
    }),
    pattern: /(?:^|\/)((\d\d)-(\d\d)-(\d\d)-\d\d-\d\d-\d\d-(\d\d))$/,
    read: (...groups) => read(wanted, ...groups),
    // Four actors a fold.
    customary: () => ({ scheme: 'speakers', count: 6 }),
  });

export const ravdess = of('speech');
export const ravdessSong = of('song');
