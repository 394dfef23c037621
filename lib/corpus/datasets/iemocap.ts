// IEMOCAP: five sessions of two actors each, improvised and scripted. Session*/dialog/EmoEvaluation has one file a dialogue, with
// a line a turn: "[start - end] TAB turn TAB emotion TAB [valence, activation, dominance]". A dialogue is named by who wears the
// markers (Ses01F_impro01), but both speak in it: the speaker is the letter before the turn's number.
import { yieldWhenDue } from '../../yield.js';
import { readLines } from '../formats.js';
import type { Utterance } from '../types.js';
import { valuesOf } from '../values.js';
import { audioOf, bySession, type Dataset, type DatasetRow, type DatasetSource, has } from './dataset.js';

/** Not the files of single annotators, in folders below. */
const EVALUATION = /(?:^|\/)Session([1-5])\/dialog\/EmoEvaluation\/Ses\d{2}[^/]*\.txt$/;
const TURN = /^\[[^\]]*\]\s+(Ses0([1-5])[FM]_\w+)\s+([a-z]+)\s+\[([^\]]*)\]/;
const NAME = /^Ses0([1-5])[FM]_\w+_([FM])[^_]*$/;
const HIGHEST = 5;
const EMOTIONS = new Set(['ang', 'dis', 'exc', 'fea', 'fru', 'hap', 'neu', 'oth', 'sad', 'sur', 'xxx']);

export const iemocap: Dataset = {
  name: 'iemocap',
  layout: 'Session1/dialog/EmoEvaluation/*.txt beside Session1/sentences/wav',
  schemes: {
    'iemocap-4': 'ang,hap=hap+exc,neu,sad',
    'iemocap-5': 'ang,exc,hap,neu,sad',
    'iemocap-6': 'ang,exc,fru,hap,neu,sad',
  },
  // No two annotators agreed.
  unlabelled: ['xxx'],
  customary: bySession,
  recognise: ({ files }) => has(files, EVALUATION),
  read,
};

async function* read(source: DatasetSource): AsyncGenerator<DatasetRow> {
  const { folder } = source;
  const audio = await audioOf(source);
  for (const evaluation of folder.files) {
    const session = EVALUATION.exec(evaluation)?.[1];
    if (session === undefined) continue;
    const file = folder.path(evaluation);
    for await (const { row, line } of readLines(file, source.signal)) {
      await yieldWhenDue();
      // Turns begin with a bracket; their annotators' judgements, and the heading, do not.
      if (!line.startsWith('[')) continue;
      const found = readTurn(line, session);
      if (typeof found === 'string') {
        yield { file, row, reason: found };
        continue;
      }
      const path = audio.audioNamed(found.id);
      yield path === undefined
        ? { file, row, reason: audio.lacking(found.id) }
        : { file, row, utterance: { ...found, audio: path } };
    }
  }
}

function readTurn(line: string, session: string) {
  const match = TURN.exec(line);
  // By itself, as in one expression it takes time by the square of a long name.
  if (match === null || !/_[FM]/.test(match[1]!.slice('Ses01F_'.length)))
    return 'a turn that is not "[start - end] name emotion [valence, activation, dominance]"';
  const [, id = '', number, label = '', ratings = ''] = match;
  if (number !== session) return `turn ${id} lies in Session${session}`;
  if (!EMOTIONS.has(label)) return `turn ${id} has the emotion "${label}", which IEMOCAP does not have`;
  const [valence = Number.NaN, arousal = Number.NaN, dominance = Number.NaN] = ratings.split(',').map(Number);
  return {
    id,
    label,
    ...voiceOfTurn(id),
    ...valuesOf({ arousal, dominance, valence }, HIGHEST),
  };
}

/** Who speaks a turn and in which session, from its name. */
export function voiceOfTurn(id: string): Pick<Utterance, 'speaker' | 'session'> {
  const match = NAME.exec(id);
  return match === null ? {} : { speaker: `Ses0${match[1]}${match[2]}`, session: `Session${match[1]}` };
}
