// ESD: ten speakers of Mandarin (0001 to 0010) and ten of English (0011 to 0020), 350 sentences in each emotion. The release
// cuts every speaker's sentences into evaluation, test and train folders; other copies have the emotion's folder alone.
import { type Named, namedFiles } from './namedFiles.js';

const SPLITS: Record<string, 'train' | 'validation' | 'test' | undefined> = {
  train: 'train',
  evaluation: 'validation',
  test: 'test',
};

/** `groups`: speaker, emotion, part (of the release alone), id and the speaker in it. */
function read(groups: readonly (string | undefined)[], language: string | undefined): Named {
  const [speaker = '', emotion = '', part = '', id = '', prefix] = groups;
  const number = Number(speaker);
  if (prefix !== speaker) return { reason: `it lies in the folder of speaker ${speaker}` };
  if (number < 1 || number > 20) return { reason: `there is no speaker ${speaker}` };
  const spoken = number <= 10 ? 'Mandarin' : 'English';
  if (language !== undefined && spoken !== language) return { part: spoken };
  const split = SPLITS[part];
  return { id, label: emotion.toLowerCase(), speaker, ...(split === undefined ? {} : { split }) };
}

const of = (name: string, language?: string) =>
  namedFiles({
    name,
    layout: '0011/Angry/0011_000351.wav, or the same with train, evaluation and test below the emotion',
    pattern: /(?:^|\/)(\d{4})\/(Angry|Happy|Neutral|Sad|Surprise)\/(?:(train|evaluation|test)\/)?((\d{4})_\d{6})$/,
    read: (...groups) => read(groups, language),
    emotions: { surprise: 'surprised' },
    customary: (utterances) =>
      utterances.length > 0 && utterances.every(({ split }) => split !== undefined)
        ? { scheme: 'given' }
        : { scheme: 'speakers', count: 5 },
  });

export const esd = of('esd');
export const esdEnglish = of('esd-english', 'English');
export const esdMandarin = of('esd-mandarin', 'Mandarin');
