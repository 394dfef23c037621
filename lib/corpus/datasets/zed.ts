// ZED, the Zaion emotion dataset: one JSON object with an entry an utterance, each with one emotional event and its bounds in
// seconds; the rest of the utterance is neutral. It is made to test on.
import { isObject } from '../../files/json.js';
import { yieldWhenDue } from '../../yield.js';
import { TIME_TOLERANCE_SECONDS } from '../row.js';
import type { Segment } from '../types.js';
import { audioOf, type Dataset, type DatasetRow, type DatasetSource, has } from './dataset.js';
import { Folder, folderOf, stemOf } from './folder.js';
import { readJsonObject } from './jsonObject.js';

const TABLE = /(?:^|\/)ZED\.json$/;
const LETTERS = new Map([
  ['a', 'angry'],
  ['h', 'happy'],
  ['n', 'neutral'],
  ['s', 'sad'],
]);

export const zed: Dataset = {
  name: 'zed',
  layout: 'ZED.json with {wav, duration, emotion: [{emo, start, end}]} an utterance',
  schemes: {},
  unlabelled: [],
  customary: () => ({ scheme: 'given' }),
  recognise: ({ files }) => has(files, TABLE),
  read,
};

async function* read(source: DatasetSource): AsyncGenerator<DatasetRow> {
  const { folder } = source;
  const audio = await audioOf(source);
  for (const table of folder.files.filter((name) => TABLE.test(name))) {
    const file = folder.path(table);
    const home = folder.path(folderOf(table));
    for (const [id, entry] of Object.entries(await readJsonObject(file, source.signal))) {
      await yieldWhenDue();
      const read = readEntry(entry);
      if (typeof read === 'string') {
        yield { file, reason: `${id}: ${read}` };
        continue;
      }
      const { wav, label, segments } = read;
      // Paths begin with a word that stands for the folder of the data.
      if (Folder.within(home, wav.replace(/^datafolder[/\\]+/, '')) === undefined) {
        yield { file, reason: `${id}: its wav "${wav}" lies outside of the dataset` };
        continue;
      }
      // Names are unique, so the audio may lie in any folder.
      const name = stemOf(wav);
      const path = audio.audioNamed(name);
      yield path === undefined
        ? { file, reason: `${id}: ${audio.lacking(name)}` }
        : { file, utterance: { id, audio: path, label, split: 'test', segments } };
    }
  }
}

function readEntry(entry: unknown): { wav: string; label: string; segments: Segment[] } | string {
  if (!isObject(entry) || typeof entry.wav !== 'string' || !Array.isArray(entry.emotion)) {
    return 'it is not {wav, duration, emotion}';
  }
  const { wav, duration } = entry;
  const segments: Segment[] = [];
  for (const event of entry.emotion as unknown[]) {
    if (!isObject(event) || typeof event.emo !== 'string' || event.emo === '')
      return 'an emotion is not {emo, start, end}';
    const { start, end } = event;
    const label = LETTERS.get(event.emo.toLowerCase()) ?? event.emo.toLowerCase();
    if (typeof start !== 'number' || typeof end !== 'number' || !(start >= 0 && end > start && end < Infinity)) {
      return `its emotion ${label} has no bounds in seconds`;
    }
    if (typeof duration === 'number' && end > duration + TIME_TOLERANCE_SECONDS) {
      return `its emotion ${label} ends (${end}) after the utterance does (${duration})`;
    }
    if (label !== 'neutral') segments.push({ start, end, label });
  }
  segments.sort((a, b) => a.start - b.start);
  let ended = -Infinity;
  for (const { start, end } of segments) {
    if (start < ended - TIME_TOLERANCE_SECONDS) return 'its emotions overlap';
    ended = end;
  }
  const labels = new Set(segments.map(({ label }) => label));
  if (labels.size > 1) return `it has more than one emotion: ${[...labels].join(', ')}`;
  return { wav, label: segments[0]?.label ?? 'neutral', segments };
}
