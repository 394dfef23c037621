// Annotation files of datasets, each in a miniature of its folder, and the split that a run takes back.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readCorpus, readFolds } from '../../../dist/index.js';
import { plant, turn } from '../../support/datasetTree.js';
import { mutateJson } from './mutate.js';

const json = (random, bytes) => Buffer.from(mutateJson(random, bytes.toString('utf8')));

/** One line of a JSONL file changed. */
export function jsonLine(random, bytes) {
  const lines = bytes.toString('utf8').trimEnd().split('\n');
  const at = random.below(lines.length);
  lines[at] = mutateJson(random, lines[at]);
  return Buffer.from(lines.join('\n'));
}

/** A reader of the dataset's folder, `up` folders above the file. */
function dataset(file, up, audio, seeds, structured) {
  return {
    file,
    text: true,
    prepare: (directory) => plant(join(directory), audio),
    seeds: async () => seeds.map((text) => Buffer.from(text)),
    ...(structured && { structured }),
    read: (path) => readCorpus(up === 0 ? dirname(path) : join(dirname(path), ...new Array(up).fill('..'))),
  };
}

const turns = ['Ses01F_impro01_F000', 'Ses01F_impro01_M000'];
const clips = ['MSP-IMPROV-S01A-F01-P-FM01', 'MSP-IMPROV-S08N-M06-T-MF02'];
const podcast = ['MSP-PODCAST_0001_0008', 'MSP-PODCAST_0002_0033'];
const consensus = 'FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set';
const labels = { EmoClass: 'A', EmoAct: 4.2, EmoVal: 1.5, EmoDom: 5, SpkrID: 7, Gender: 'Male', Split_Set: 'Train' };
const meld = 'Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n';
const emoBox = ['a', 'b'].map((key) =>
  JSON.stringify({ key, wav: `downloads/set/${key}.wav`, emo: 'x', start_time: 0, end_time: 0.1 }),
);
const emoBoxFiles = {
  'data/set/set.jsonl': emoBox.join('\n'),
  'data/set/label_map.json': '{"x":"X"}',
  'data/set/fold_1/set_train_fold_1.jsonl': emoBox[0],
  'data/set/fold_1/set_test_fold_1.jsonl': emoBox[1],
};
/** The metadata of a set, one file of which is changed. */
const emoBoxReader = (file, up, structured) => ({
  ...dataset(file, up, [], [emoBoxFiles[file]], structured),
  prepare: (directory) => {
    plant(directory, emoBoxFiles);
    plant(directory, ['downloads/set/a.wav', 'downloads/set/b.wav']);
  },
});

const named = [
  ['03a01Fa.wav', '03a01Nc.wav', '16b10Wb.wav'],
  ['1001_DFA_ANG_XX.wav', '1091_WSI_SAD_HI.wav'],
  ['Actor_01/03-01-05-02-01-01-01.wav', 'Actor_24/03-01-08-01-02-02-24.wav'],
  ['DC_a01.wav', 'JE_sa15.wav', 'KL_n30.wav'],
  ['OAF_back_angry.wav', 'YAF_youth_ps.wav'],
  ['female1_angry_10a_1.wav', 'male2_sad_1b_2.wav'],
  ['0001/Angry/0001_000351.wav', '0020/Surprise/0020_001750.wav'],
  ['anger_1-28_0001.wav', 'bea_Amused/amused_1-15_0001.wav'],
];
/** A file of that name in the folder, where there can be one. */
async function plantName(folder, name) {
  const parts = name.split('/');
  if (parts.length > 4 || parts.some((part) => part === '' || /^\.+$|\0/.test(part) || Buffer.byteLength(part) > 200))
    return;
  await mkdir(join(folder, ...parts.slice(0, -1)), { recursive: true }).catch(() => undefined);
  await writeFile(join(folder, ...parts), 'RIFF').catch(() => undefined);
}

export const corpora = {
  iemocap: dataset(
    'Session1/dialog/EmoEvaluation/Ses01F_impro01.txt',
    3,
    turns.map((name) => `Session1/sentences/wav/Ses01F_impro01/${name}.wav`),
    [`% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n${turns.map((name) => turn(name, 'exc')).join('')}`],
  ),
  'msp-improv': dataset(
    'Evalution.txt',
    0,
    clips.map((name) => `session1/S01A/P/${name}.wav`),
    [clips.map((name) => `${name.replace('MSP', 'UTD')}.avi; N; A:3.2; V:3.0; D:2.8 ; N:3.6;`).join('\n')],
  ),
  'msp-podcast-csv': dataset(
    'Labels/labels_consensus.csv',
    1,
    podcast.map((name) => `Audios/${name}.wav`),
    [[consensus, ...podcast.map((name) => `${name}.wav,A,4.2,1.5,5,7,Male,Train`)].join('\n')],
  ),
  'msp-podcast-json': dataset(
    'Labels/labels_consensus.json',
    1,
    podcast.map((name) => `Audios/${name}.wav`),
    [JSON.stringify(Object.fromEntries(podcast.map((name) => [`${name}.wav`, labels])))],
    json,
  ),
  meld: dataset(
    'train_sent_emo.csv',
    0,
    ['train_splits/dia0_utt0.wav', 'train_splits/dia0_utt1.wav'],
    [`${meld}1,"Oh, ""well"".",Joey,joy,positive,0,0\n2,No.,Ross,fear,negative,0,1\n`],
  ),
  zed: dataset(
    'ZED.json',
    0,
    ['wav/a.wav'],
    [
      JSON.stringify({
        a: { wav: 'datafolder/wav/a.wav', duration: 0.2, emotion: [{ emo: 'angry', start: 0.05, end: 0.15 }] },
      }),
    ],
    json,
  ),
  'emobox-list': emoBoxReader('data/set/set.jsonl', 0, jsonLine),
  'emobox-labels': emoBoxReader('data/set/label_map.json', 0, json),
  'emobox-fold': emoBoxReader('data/set/fold_1/set_train_fold_1.jsonl', 1, jsonLine),
  // Of datasets whose labels are in the names of files: a name a line.
  'dataset-names': {
    file: 'names.txt',
    text: true,
    seeds: async () => named.map((names) => Buffer.from(names.join('\n'))),
    read: async (path) => {
      const folder = join(dirname(path), 'dataset');
      await rm(folder, { recursive: true, force: true });
      for (const name of (await readFile(path, 'utf8')).split('\n').slice(0, 24)) await plantName(folder, name);
      await mkdir(folder, { recursive: true });
      await readCorpus(folder);
    },
  },
  split: {
    file: 'folds.json',
    text: true,
    seeds: async () => [
      Buffer.from(JSON.stringify([{ name: 's1', train: ['a', 'b'], validation: ['c'], test: ['d', 'e'] }])),
    ],
    structured: json,
    read: readFolds,
  },
};
