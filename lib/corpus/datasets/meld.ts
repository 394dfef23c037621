// MELD: utterances of a television series, in three CSV files of one split each. Clips are named by dialogue and utterance, and the
// numbers begin anew in each split, so that the split is part of an id. The release has MP4, which must be converted.
import { posix } from 'node:path';
import { yieldWhenDue } from '../../yield.js';
import { readCsv } from '../formats.js';
import type { Utterance } from '../types.js';
import { audioOf, type Dataset, type DatasetRow, type DatasetSource, has } from './dataset.js';
import { type Folder, folderOf, isAudio, stemOf, toConvert } from './folder.js';

const TABLE = /(?:^|\/)(train|dev|test)_sent_emo\.csv$/;
const COLUMNS = ['Speaker', 'Emotion', 'Dialogue_ID', 'Utterance_ID'];
const EMOTIONS = new Set(['anger', 'disgust', 'fear', 'joy', 'neutral', 'sadness', 'surprise']);
const SPLITS: Record<string, NonNullable<Utterance['split']>> = { train: 'train', dev: 'validation', test: 'test' };
/** Broken or missing in the release itself. */
const BROKEN = new Set(['train_dia125_utt3', 'dev_dia110_utt7']);

export const meld: Dataset = {
  name: 'meld',
  layout:
    'train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv, and dia0_utt0.wav (or .flac) in a folder of each split',
  schemes: {},
  unlabelled: [],
  customary: () => ({ scheme: 'given' }),
  recognise: ({ files }) => has(files, TABLE),
  read,
};

async function* read(source: DatasetSource): AsyncGenerator<DatasetRow> {
  const { folder } = source;
  const audio = await audioOf(source);
  const clips = clipsOf(audio);
  for (const table of folder.files) {
    const [, part = ''] = TABLE.exec(table) ?? [];
    const split = SPLITS[part];
    if (split === undefined) continue;
    const file = folder.path(table);
    for await (const { row, raw, reason = 'it cannot be read' } of readCsv(file, COLUMNS, source.signal)) {
      await yieldWhenDue();
      if (raw === undefined) {
        yield { file, row, reason };
        continue;
      }
      const [dialogue, number] = [String(raw.Dialogue_ID), String(raw.Utterance_ID)];
      const label = String(raw.Emotion).toLowerCase();
      const name = `dia${dialogue}_utt${number}`;
      const id = `${part}_${name}`;
      const clip = clips.get(id);
      if (!/^\d+$/.test(dialogue) || !/^\d+$/.test(number)) {
        yield { file, row, reason: 'Dialogue_ID or Utterance_ID is not a number' };
      } else if (!EMOTIONS.has(label)) {
        yield { file, row, reason: `${name} has the emotion "${label}", which MELD does not have` };
      } else if (clip === undefined) {
        const known = BROKEN.has(id) ? ' (the release has none that can be played)' : '';
        yield { file, row, reason: `there is no ${name}.wav in a folder of the ${part} split${known}` };
      } else if (!isAudio(clip)) yield { file, row, reason: toConvert(clip) };
      else {
        const speaker = String(raw.Speaker).trim();
        const utterance = { id, audio: audio.path(clip), label, split };
        yield { file, row, utterance: { ...utterance, ...(speaker === '' ? {} : { speaker }) } };
      }
    }
  }
}

/** The clips of each split by `split_name`, audio before what has to be converted. */
function clipsOf(folder: Folder): Map<string, string> {
  const clips = new Map<string, string>();
  for (const file of [...folder.audio, ...folder.media]) {
    const name = stemOf(file);
    const part = /^dia\d+_utt\d+$/.test(name) ? partOf(folderOf(file)) : undefined;
    if (part === undefined) continue;
    const id = `${part}_${name}`;
    if (!clips.has(id)) clips.set(id, file);
  }
  return clips;
}

/** The split that the nearest folder names: train_splits, dev_splits_complete, output_repeated_splits_test, … */
function partOf(folder: string): string | undefined {
  for (let path = folder; path !== '' && path !== '.'; path = posix.dirname(path)) {
    const name = posix.basename(path).toLowerCase();
    const found = ['train', 'dev', 'test'].find((part) => name.includes(part));
    if (found !== undefined) return found;
    if (name.startsWith('val')) return 'dev';
  }
  return undefined;
}
