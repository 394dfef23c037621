// MSP-Podcast: segments of podcasts, with consensus labels in Labels/labels_consensus.csv (or .json; an early release spells it
// "concensus"), audio in Audios or Audio, and splits of its own whose speakers, where they are known, do not meet.
import { isObject, textOf } from '../../files/json.js';
import { yieldWhenDue } from '../../yield.js';
import { type ReadRow, readCsv } from '../formats.js';
import type { Utterance, Values } from '../types.js';
import { valuesOf } from '../values.js';
import { audioOf, type Dataset, type DatasetRow, type DatasetSource, has } from './dataset.js';
import { stemOf } from './folder.js';
import { readJsonObject } from './jsonObject.js';

const LABELS = /(?:^|\/)labels?_con[sc]ensus\.(csv|json)$/i;
const COLUMNS = ['FileName', 'EmoClass', 'Split_Set'];
const EMOTIONS = new Map([
  ['A', 'angry'],
  ['C', 'contempt'],
  ['D', 'disgust'],
  ['F', 'fearful'],
  ['H', 'happy'],
  ['N', 'neutral'],
  ['O', 'other'],
  ['S', 'sad'],
  ['U', 'surprised'],
  ['X', 'no-agreement'],
]);
const SPLITS = new Map<string, NonNullable<Utterance['split']>>([
  ['Train', 'train'],
  ['Development', 'validation'],
  ['Validation', 'validation'],
  ['Test1', 'test'],
]);
const RATINGS = { EmoAct: 'arousal', EmoVal: 'valence', EmoDom: 'dominance' };
const HIGHEST = 7;

export const mspPodcast: Dataset = {
  name: 'msp-podcast',
  layout: 'Labels/labels_consensus.csv and Audios/MSP-PODCAST_*.wav',
  schemes: {
    'msp-podcast-8': 'angry,contempt,disgust,fearful,happy,neutral,sad,surprised',
    'msp-podcast-4': 'angry,happy,neutral,sad',
  },
  unlabelled: ['no-agreement'],
  customary: () => ({ scheme: 'given' }),
  recognise: ({ files }) => has(files, LABELS),
  read,
};

async function* read(source: DatasetSource): AsyncGenerator<DatasetRow> {
  const { folder } = source;
  const audio = await audioOf(source);
  const tables = folder.files.filter((file) => LABELS.test(file));
  // They hold the same; the CSV is read row by row.
  const table = tables.find((file) => file.toLowerCase().endsWith('.csv')) ?? tables[0];
  if (table === undefined) return;
  const file = folder.path(table);
  const rows = table.toLowerCase().endsWith('.csv')
    ? readCsv(file, COLUMNS, source.signal)
    : readJsonTable(file, source.signal);
  for await (const { row, raw, reason = 'it cannot be read' } of rows) {
    await yieldWhenDue();
    const place = row === 0 ? { file } : { file, row };
    if (raw === undefined) {
      yield { ...place, reason };
      continue;
    }
    const [name = '', set = '', emotion = ''] = [raw.FileName, raw.Split_Set, raw.EmoClass].map(textOf);
    const id = stemOf(name);
    const label = EMOTIONS.get(emotion);
    const split = SPLITS.get(set);
    if (label === undefined) yield { ...place, reason: `${name} has the emotion "${emotion}", which is not known` };
    else if (/^Test[23]$/.test(set)) yield { ...place, part: set };
    else if (split === undefined) yield { ...place, reason: `${name} is of the split "${set}", which is not known` };
    else {
      const path = audio.audioNamed(id);
      yield path === undefined
        ? { ...place, reason: audio.lacking(id) }
        : { ...place, utterance: { id, audio: path, label, split, ...speakerOf(raw.SpkrID), ...ratingsOf(raw) } };
    }
  }
}

/** An object with an entry a file, which has no row number. */
async function* readJsonTable(file: string, signal: AbortSignal | undefined): AsyncGenerator<ReadRow> {
  for (const [name, entry] of Object.entries(await readJsonObject(file, signal))) {
    yield isObject(entry)
      ? { row: 0, raw: { ...entry, FileName: name } }
      : { row: 0, reason: `${name} is not a JSON object` };
  }
}

function speakerOf(value: unknown): { speaker?: string } {
  const speaker = (textOf(value) ?? '').trim();
  return speaker === '' || speaker.toLowerCase() === 'unknown' ? {} : { speaker };
}

function ratingsOf(raw: Record<string, unknown>): { values?: Values } {
  const ratings: Record<string, number> = {};
  for (const [column, name] of Object.entries(RATINGS)) {
    ratings[name] = Number.parseFloat(textOf(raw[column]) ?? '');
  }
  return valuesOf(ratings, HIGHEST);
}
