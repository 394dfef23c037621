// MSP-IMPROV: six sessions of two actors each. One text file, whose name the release spells in two ways, has a line a turn:
// "UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.0; V:3.2; D:2.8 ; N:3.6;", then its annotators' lines. The third part of the name is who
// speaks, the fourth how it came about (R read, T target sentence, S improvised, P between recordings).
import { yieldWhenDue } from '../../yield.js';
import { readLines } from '../formats.js';
import type { Values } from '../types.js';
import { valuesOf } from '../values.js';
import { audioOf, bySession, type Dataset, type DatasetRow, type DatasetSource, has } from './dataset.js';

const EVALUATION = /(?:^|\/)Eval(?:ution|uation)\.txt$/;
const CLIP = /^UTD-IMPROV-(S\d\d[A-Z]-([FM]0([1-6]))-[A-Z]-[A-Z0-9]+)\.avi;\s*([A-Z])\s*;(.*)$/;
const EMOTIONS: Record<string, string | undefined> = {
  A: 'angry',
  H: 'happy',
  N: 'neutral',
  S: 'sad',
  O: 'other',
  X: 'no-agreement',
};
const RATINGS = { A: 'arousal', V: 'valence', D: 'dominance' } as const;
const HIGHEST = 5;

export const mspImprov: Dataset = {
  name: 'msp-improv',
  layout: 'Evalution.txt with lines such as UTD-IMPROV-S01A-F01-P-FM01.avi; N; …, and MSP-IMPROV-*.wav below',
  schemes: { 'msp-improv-4': 'angry,happy,neutral,sad' },
  unlabelled: ['no-agreement'],
  customary: bySession,
  recognise: async ({ files, audio }) =>
    (await has(files, EVALUATION)) * (await has(audio, /(?:^|\/)MSP-IMPROV-[^/]*$/)),
  read,
};

async function* read(source: DatasetSource): AsyncGenerator<DatasetRow> {
  const { folder } = source;
  const audio = await audioOf(source);
  for (const evaluation of folder.files.filter((name) => EVALUATION.test(name))) {
    const file = folder.path(evaluation);
    for await (const { row, line } of readLines(file, source.signal)) {
      await yieldWhenDue();
      if (!line.startsWith('UTD-IMPROV-')) continue;
      const match = CLIP.exec(line.trim());
      const label = EMOTIONS[match?.[4] ?? ''];
      if (match === null || label === undefined) {
        yield { file, row, reason: 'a line that is not "UTD-IMPROV-name.avi; emotion; A:…; V:…; D:…; N:…;"' };
        continue;
      }
      const [, name, speaker = '', session, , rest = ''] = match;
      const id = `MSP-IMPROV-${name}`;
      const path = audio.audioNamed(id);
      if (path === undefined) yield { file, row, reason: audio.lacking(id) };
      else {
        const utterance = { id, audio: path, label, speaker, session: `session${session}`, ...ratings(rest) };
        yield { file, row, utterance };
      }
    }
  }
}

/** Some have no number where too few annotators rated. */
function ratings(text: string): { values?: Values } {
  const found: Record<string, number> = {};
  for (const [, key, value] of text.matchAll(/\b([AVD]):\s*(\d+(?:\.\d+)?)/g)) {
    found[RATINGS[key as keyof typeof RATINGS]] = Number(value);
  }
  return valuesOf(found, HIGHEST);
}
