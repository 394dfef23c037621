// Which dataset a folder is, and its utterances as a corpus.
import { basename } from 'node:path';
import { EmoframeError, throwIfAborted } from '../../errors.js';
import { printable, quoted } from '../../quote.js';
import { givenSharesSpeakers } from '../folds.js';
import type { Corpus, Problem, Utterance } from '../types.js';
import { cremaD } from './cremaD.js';
import type { Dataset, DatasetSource } from './dataset.js';
import { emoBox } from './emoBox.js';
import { emoDb } from './emoDb.js';
import { emovDb } from './emovDb.js';
import { esd, esdEnglish, esdMandarin } from './esd.js';
import { type Folder, isLossy } from './folder.js';
import { iemocap } from './iemocap.js';
import { jlCorpus } from './jlCorpus.js';
import { meld } from './meld.js';
import { mspImprov } from './mspImprov.js';
import { mspPodcast } from './mspPodcast.js';
import { ravdess, ravdessSong } from './ravdess.js';
import { savee } from './savee.js';
import { tess } from './tess.js';
import { zed } from './zed.js';

/** Known by an annotation file of theirs. */
const annotated: readonly Dataset[] = [iemocap, mspImprov, mspPodcast, meld, zed, emoBox];
/** Known by the names of their audio. */
const named: readonly Dataset[] = [ravdess, cremaD, emoDb, tess, savee, esd, jlCorpus, emovDb, ravdessSong];
/** Parts of a dataset, which are never guessed. */
const parts: readonly Dataset[] = [esdEnglish, esdMandarin];

export const datasets: readonly Dataset[] = [...annotated, ...named, ...parts];

/** A share of audio that may be named as in another dataset by chance. */
const CHANCE = 0.02;

/** Every layout, for messages. */
export const DATASET_LAYOUTS = [...annotated, ...named].map(({ name, layout }) => `${name} (${layout})`).join('; ');

/** Whether a dataset's audio may lie apart from its annotations. */
export function takesAudioRoot(dataset: Dataset): boolean {
  return annotated.includes(dataset);
}

/** @throws `ERR_ARGUMENT` naming the datasets that there are */
export function datasetNamed(name: string): Dataset {
  const found = datasets.find((dataset) => dataset.name === name);
  if (found !== undefined) return found;
  throw new EmoframeError(
    'ERR_ARGUMENT',
    `Expected one of ${datasets.map((dataset) => dataset.name).join(', ')} for dataset but received ${quoted(name)}.`,
  );
}

/**
 * The dataset whose layout a folder has; undefined: none.
 *
 * @throws `ERR_CORPUS` where several do, or where only a few of its files are of one
 */
export async function recogniseDataset(folder: Folder): Promise<Dataset | undefined> {
  const shareOf = async (dataset: Dataset) => ({ dataset, share: await dataset.recognise(folder) });
  const known = (await Promise.all(annotated.map(shareOf))).flatMap(({ dataset, share }) => (share > 0 ? dataset : []));
  const shares = await Promise.all(named.map(shareOf));
  // EmoBox's own folder may hold the audio of any dataset.
  const others = known.includes(emoBox)
    ? []
    : shares.filter(({ share }) => share > CHANCE).map(({ dataset }) => dataset);
  if (known.length + others.length > 1 && known.length > 0) {
    throw ambiguous(folder, `looks like several datasets: ${namesOf([...known, ...others])}`);
  }
  if (known.length === 1) return known[0];
  const [most, ...alike] = shares.filter(({ share }) => share >= 0.5);
  if (most !== undefined && alike.length === 0) return most.dataset;
  const some = shares.filter(({ share }) => share > 0);
  if (some.length === 0) return undefined;
  const found = some.map(({ dataset, share }) => `${dataset.name} (${(100 * share).toFixed(1)} %)`).join(', ');
  throw ambiguous(folder, `holds ${folder.audio.length} audio files, of which only some are named as in ${found}`);
}

function ambiguous(folder: Folder, what: string): EmoframeError {
  return new EmoframeError(
    'ERR_CORPUS',
    `${folder.root} ${what}. Give the folder of one dataset, or name it (--dataset NAME on the command line).`,
    { file: folder.root },
  );
}

function namesOf(list: readonly Dataset[]): string {
  return list.map(({ name }) => name).join(', ');
}

/** What a dataset's folder holds, with labels as they are annotated, sorted by id. */
export async function readDataset(dataset: Dataset, source: DatasetSource): Promise<Corpus> {
  const utterances: Utterance[] = [];
  const problems: Problem[] = [];
  const firsts = new Map<string, { place: string; audio: string }>();
  const leftOut = new Map<string, number>();
  const leaveOut = (part: string) => leftOut.set(part, (leftOut.get(part) ?? 0) + 1);
  for await (const found of dataset.read(source)) {
    throwIfAborted(source.signal);
    const { file, row } = found;
    const refuse = (reason: string) =>
      problems.push({ file, ...(row === undefined ? {} : { row }), reason: printable(reason) });
    if ('reason' in found) refuse(found.reason);
    else if ('part' in found) leaveOut(found.part);
    else {
      const { utterance } = found;
      const { id, audio } = utterance;
      const first = firsts.get(id);
      if (first === undefined) {
        firsts.set(id, { place: row === undefined ? file : `line ${row} of ${file}`, audio });
        utterances.push(utterance);
      } else if (isLossy(audio) && !isLossy(first.audio)) leaveOut('lossy copy');
      else refuse(`the id "${id}" is already used by ${first.place}`);
    }
  }
  if (utterances.length === 0) throw nothingUsable(dataset, source.folder, problems);
  utterances.sort((a, b) => (a.id < b.id ? -1 : 1));
  const given = await dataset.folds?.(source, new Set(firsts.keys()));
  // A set that is read from its folds has reported their rows already.
  const reported = new Set(problems.map(({ file, row }) => `${row} ${file}`));
  for (const problem of given?.problems ?? []) {
    if (!reported.has(`${problem.row} ${problem.file}`)) problems.push(problem);
  }
  const corpus: Corpus = {
    name: basename(source.folder.root),
    utterances,
    problems,
    dataset: dataset.name,
    ...(leftOut.size === 0 ? {} : { leftOut: Object.fromEntries(leftOut) }),
    ...(given === undefined || given.folds.length === 0 ? {} : { folds: given.folds }),
  };
  const customary = dataset.customary(utterances);
  // A split that is customary is taken as it is, speakers on both sides included, and says so.
  const shared = customary.scheme === 'given' && givenSharesSpeakers(corpus);
  return { ...corpus, customary: shared ? { ...customary, allowSharedSpeakers: true } : customary };
}

const SHOWN_PROBLEMS = 3;

function nothingUsable(dataset: Dataset, folder: Folder, problems: readonly Problem[]): EmoframeError {
  const shown = problems
    .slice(0, SHOWN_PROBLEMS)
    .map(({ file, row, reason }) => `${file}${row === undefined ? '' : `:${row}`}: ${reason}`);
  const more = problems.length > SHOWN_PROBLEMS ? `; and ${problems.length - SHOWN_PROBLEMS} more` : '';
  return new EmoframeError(
    'ERR_CORPUS',
    problems.length === 0
      ? `${folder.root} holds no files of ${dataset.name}: expected ${dataset.layout}.`
      : `${folder.root} has no utterance of ${dataset.name} that can be used. ${shown.join('; ')}${more}.`,
    { file: folder.root },
  );
}
