// EmoBox: metadata of 32 datasets in one form, a folder each: SET.jsonl with all utterances, label_map.json (label_dict.json in one
// set), and fold_N with SET_train_fold_N.jsonl, SET_test_fold_N.jsonl and, where the dataset gives it, SET_valid_fold_N.jsonl. Audio
// is named as "downloads/SET/…", from the folder that holds data and downloads.

import { dirname, extname, join } from 'node:path';
import { EmoframeError } from '../../errors.js';
import { textOf } from '../../files/json.js';
import { statOfNamed } from '../../files/read.js';
import { given } from '../../given.js';
import { yieldWhenDue } from '../../yield.js';
import { type ReadRow, readJsonl } from '../formats.js';
import type { GivenFold, Problem, Utterance } from '../types.js';
import { cremaD } from './cremaD.js';
import { type Dataset, type DatasetRow, type DatasetSource, has } from './dataset.js';
import { emoDb } from './emoDb.js';
import { emovDb } from './emovDb.js';
import { esd } from './esd.js';
import { Folder, isAudio, stemOf, toConvert } from './folder.js';
import { voiceOfTurn } from './iemocap.js';
import { jlCorpus } from './jlCorpus.js';
import { readJsonObject } from './jsonObject.js';
import type { NamedDataset } from './namedFiles.js';
import { ravdess } from './ravdess.js';
import { savee } from './savee.js';
import { tess } from './tess.js';

// Sets have other lists in their folders too, of older forms or other tests: only these names are of a fold.
const LIST = /^(?:(.*)\/)?fold_(\d+)\/([^/]+)_(train|valid|test)_fold_\2\.jsonl$/;

export const emoBox: Dataset = {
  name: 'emobox',
  layout: 'label_map.json and fold_1/SET_train_fold_1.jsonl',
  schemes: {},
  unlabelled: [],
  customary: () => ({ scheme: 'given' }),
  recognise: ({ files }) => has(files, LIST),
  read,
  folds,
};

/** The sets whose audio is named after its speaker. */
const namesOf: ReadonlyMap<string, NamedDataset> = new Map([
  ['ravdess', ravdess],
  ['cremad', cremaD],
  ['emodb', emoDb],
  ['tess', tess],
  ['savee', savee],
  ['esd', esd],
  ['jlcorpus', jlCorpus],
  ['emovdb', emovDb],
]);

/** Who speaks and in which session, where the audio's name says so. */
function voiceOf(set: string, wav: string): Pick<Utterance, 'speaker' | 'session'> {
  if (set === 'iemocap') return voiceOfTurn(stemOf(wav));
  const { speaker, session } = { ...namesOf.get(set)?.named(wav) } as Partial<Utterance>;
  return given({ speaker, session });
}

interface List {
  file: string;
  fold: number;
  part: 'train' | 'valid' | 'test';
}

/** The one set of a folder. @throws `ERR_CORPUS` when there are several */
function findSet(folder: Folder): { name: string; home: string; lists: List[] } {
  const sets = new Map<string, { name: string; home: string; lists: List[] }>();
  for (const file of folder.files) {
    const match = LIST.exec(file);
    if (match === null) continue;
    const [, home = '', fold, name = '', part] = match;
    const set = sets.get(`${home}/${name}`) ?? { name, home, lists: [] };
    set.lists.push({ file: folder.path(file), fold: Number(fold), part: part as List['part'] });
    sets.set(`${home}/${name}`, set);
  }
  const [set, ...others] = sets.values();
  if (set !== undefined && others.length === 0) return set;
  const homes = [...sets.values()].map(({ home }) => home || '.');
  throw new EmoframeError(
    'ERR_CORPUS',
    sets.size === 0
      ? `${folder.root} holds no EmoBox metadata: expected ${emoBox.layout}.`
      : `${folder.root} holds the EmoBox metadata of ${sets.size} sets. Give one of them: ${homes.slice(0, 40).join(', ')}.`,
    { file: folder.root },
  );
}

async function* read({ folder, audioRoot, signal }: DatasetSource): AsyncGenerator<DatasetRow> {
  const { name, home, lists } = findSet(folder);
  const labels = await readLabels(folder, home, signal);
  const whole = folder.files.find((file) => file === (home === '' ? `${name}.jsonl` : `${home}/${name}.jsonl`));
  const tables = whole === undefined ? lists.map(({ file }) => file) : [folder.path(whole)];
  const find = new AudioFinder(folder.path(home), audioRoot);
  const seen = new Set<string>();
  for (const file of tables) {
    for await (const read of readJsonl(file, signal)) {
      await yieldWhenDue();
      const entry = readEntry(read, labels);
      // Folds repeat what other folds hold.
      if (whole === undefined && 'id' in entry && seen.has(entry.id)) continue;
      const { row } = read;
      if ('reason' in entry) yield { file, row, reason: entry.reason };
      else {
        const { wav, ...utterance } = entry;
        seen.add(utterance.id);
        const found = await find.find(wav);
        yield 'reason' in found
          ? { file, row, reason: found.reason }
          : { file, row, utterance: { ...utterance, ...voiceOf(name, wav), audio: found.path } };
      }
    }
  }
}

/** What a label becomes: sets differ from their map in capitals only, and one of them in nothing but that. */
async function readLabels(
  folder: Folder,
  home: string,
  signal: AbortSignal | undefined,
): Promise<(label: string) => string> {
  const names = ['label_map.json', 'label_dict.json'].map((name) => (home === '' ? name : `${home}/${name}`));
  const file = folder.files.find((path) => names.includes(path));
  if (file === undefined) return (label) => label;
  const map = new Map(
    Object.entries(await readJsonObject(folder.path(file), signal)).map(([label, name]) => [
      label,
      textOf(name) ?? label,
    ]),
  );
  const capitals = new Map([...map].map(([label, name]) => [label.toLowerCase(), name]));
  return (label) => map.get(label) ?? capitals.get(label.toLowerCase()) ?? label;
}

type Entry = { reason: string } | (Omit<Utterance, 'audio'> & { wav: string });

function readEntry({ raw, reason = 'it cannot be read' }: ReadRow, labelOf: (label: string) => string): Entry {
  if (raw === undefined) return { reason };
  const [id, wav, label] = [raw.key, raw.wav ?? raw.audio, raw.emo ?? raw.label];
  if (typeof id !== 'string' || id === '') return { reason: 'the field "key" is missing or empty' };
  if (typeof wav !== 'string' || wav === '') return { reason: 'the field "wav" is missing or empty' };
  if (typeof label !== 'string' || label === '') return { reason: 'the field "emo" is missing or empty' };
  const entry = { id, wav, label: labelOf(label) };
  const { start_time: start, end_time: end } = raw;
  if (start === undefined && end === undefined) return entry;
  if (typeof start !== 'number' || typeof end !== 'number' || !(start >= 0 && end > start && end < Infinity)) {
    return { reason: 'expected seconds for "start_time" and "end_time", the second after the first' };
  }
  return { ...entry, startSeconds: start, endSeconds: end };
}

/** Finds audio that is named from EmoBox's folder. */
class AudioFinder {
  readonly #roots: readonly [string, ...string[]];

  /** `home`: the folder of the set, `data/SET`. */
  constructor(home: string, audioRoot: string | undefined) {
    this.#roots = audioRoot === undefined ? [dirname(dirname(home)), dirname(home), home] : [audioRoot];
  }

  async find(wav: string): Promise<{ path: string } | { reason: string }> {
    // "downloads/SET/…" may lie elsewhere under any of its ends: the folder of the downloads, or of the dataset itself.
    const ends = [wav, wav.replace(/^[^/]+\//, ''), wav.replace(/^[^/]+\/[^/]+\//, '')];
    let outside = false;
    for (const root of this.#roots) {
      for (const end of new Set(ends)) {
        const path = Folder.within(root, end);
        if (path === undefined) outside = true;
        else {
          const found = await firstFile(path);
          if (found !== undefined) return { path: found };
        }
      }
    }
    if (outside) return { reason: `its audio "${wav}" lies outside of the dataset` };
    const wanted = join(this.#roots[0], wav);
    return {
      reason: isAudio(wav) ? `there is no audio file ${wanted}` : `there is no ${wanted} in WAV: ${toConvert(wav)}`,
    };
  }
}

/** The file if its kind is read, or the same name as WAV or FLAC. */
async function firstFile(path: string): Promise<string | undefined> {
  const stem = path.slice(0, path.length - extname(path).length);
  for (const candidate of new Set([...(isAudio(path) ? [path] : []), `${stem}.wav`, `${stem}.flac`])) {
    const found = await statOfNamed(candidate);
    if (found?.isFile()) return candidate;
  }
  return undefined;
}

async function folds({ folder, signal }: DatasetSource, known: ReadonlySet<string>) {
  const { lists } = findSet(folder);
  const numbers = [...new Set(lists.map(({ fold }) => fold))].sort((a, b) => a - b);
  const made: GivenFold[] = [];
  const problems: Problem[] = [];
  for (const number of numbers) {
    const of = async (part: List['part']) => {
      const list = lists.find((candidate) => candidate.fold === number && candidate.part === part);
      return list === undefined ? undefined : await idsIn(list.file, known, problems, signal);
    };
    const [train, validation, test] = [await of('train'), await of('valid'), await of('test')];
    if (train === undefined || test === undefined) {
      const missing = train === undefined ? 'train' : 'test';
      problems.push({ file: folder.root, reason: `fold_${number} has no list of its ${missing} part` });
    } else made.push({ name: `fold_${number}`, train, ...(validation === undefined ? {} : { validation }), test });
  }
  return { folds: made, problems };
}

/** Ids of a list; what is not known is a problem of the set's own list already. */
async function idsIn(
  file: string,
  known: ReadonlySet<string>,
  problems: Problem[],
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const found = new Set<string>();
  for await (const { row, raw, reason = 'the field "key" is missing or empty' } of readJsonl(file, signal)) {
    await yieldWhenDue();
    const id = raw?.key;
    if (typeof id !== 'string' || id === '') problems.push({ file, row, reason });
    else if (known.has(id)) found.add(id);
  }
  return [...found];
}
