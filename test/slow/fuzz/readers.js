// What is fuzzed: for each reader, valid inputs to start from, and how it is called on a file that is no longer valid.
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AudioCache } from '../../../dist/audio/cache.js';
import { decodeBytes } from '../../../dist/audio/decode.js';
import { readCentroidFile } from '../../../dist/checkpoint/centroids.js';
import { unpickle } from '../../../dist/checkpoint/foreign/pickle.js';
import { readHead, writeHead } from '../../../dist/checkpoint/head.js';
import { lockDescriptor } from '../../../dist/files/fileLock.js';
import {
  Engine,
  loadAudio,
  loadPretrained,
  packSamples,
  parseConfig,
  readConfig,
  readCorpus,
  readNpy,
  readSafetensors,
  writeReport,
} from '../../../dist/index.js';
import { JsonlLog } from '../../../dist/log/jsonl.js';
import { loadClassifier } from '../../../dist/predict/loadModel.js';
import { openRunDirectory } from '../../../dist/run/directory.js';
import { verifyResult } from '../../../dist/run/stageResult.js';
import { readCentroids } from '../../../dist/stages/clustering.js';
import { openTrainingState, saveTrainingState } from '../../../dist/training/trainingState.js';
import { readAll, storedForm } from '../../support/storedTensors.js';
import { writeSyntheticRun } from '../../support/syntheticRun.js';
import { writeTinyPredictor } from '../../support/tinyPredictor.js';
import { readTorch } from '../../support/torchFile.js';
import { addonReader } from './addon.js';
import { mutateArchive, mutatePickle, unzip } from './archives.js';
import { corpora, jsonLine } from './corpora.js';
import { hubReaders } from './hub.js';
import { mutateJson } from './mutate.js';
import { mutateOgg } from './ogg.js';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test', 'fixtures');
const fixture = (...names) => readFile(join(fixtures, ...names));
const all = (...paths) => Promise.all(paths.map((path) => fixture(...path.split('/'))));

/** A safetensors file whose header is wrong in itself, its length being right. */
function mutateHeader(random, bytes) {
  const length = Number(bytes.readBigUInt64LE(0));
  const header = Buffer.from(mutateJson(random, bytes.toString('utf8', 8, 8 + length)));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([prefix, header, bytes.subarray(8 + length)]);
}

/** A .npy file whose dict is wrong, its length being right. */
function mutateNpyHeader(random, bytes) {
  const length = bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', 10, 10 + length);
  const values = [
    '-1',
    '0',
    '1e3',
    '9007199254740993',
    '99999999999999999999999',
    '',
    'True',
    "'<f4'",
    "'|O'",
    '(',
    '), (',
  ];
  const changed = Buffer.from(
    header.replace(/\d+|'[^']*'|True|False/g, (word) => (random.oneIn(4) ? random.pick(values) : word)),
  );
  const prefix = Buffer.from(bytes.subarray(0, 10));
  prefix.writeUInt16LE(Math.min(changed.length, 65535), 8);
  return Buffer.concat([prefix, changed, bytes.subarray(10 + length)]);
}

/** A stream of before PyTorch 1.6 whose pickles are wrong. */
function mutateStream(random, bytes) {
  const end = Math.min(bytes.length, 8192);
  return Buffer.concat([mutatePickle(random, bytes.subarray(0, end)), bytes.subarray(end)]);
}

const cached = join(fixtures, 'audio', 'stereo48k.flac');
const useCache = (directory) => new AudioCache({ dir: join(directory, 'cache') }, () => undefined).load(cached, {});

async function cacheEntry(directory) {
  const samples = join(directory, 'cache', 'samples');
  const [name] = (await readdir(samples, { recursive: true })).filter((name) => name.length > 60);
  return join(samples, name);
}

async function cacheRecord(directory) {
  const files = join(directory, 'cache', 'files');
  const [name] = (await readdir(files, { recursive: true })).filter((name) => name.length > 60);
  return join(files, name);
}

const json = (random, bytes) => Buffer.from(mutateJson(random, bytes.toString('utf8')));

const rows = ['one', 'two', 'three'].map((id, i) => ({
  id,
  audio: 'voice.wav',
  label: ['angry', 'neutral'][i % 2],
  speaker: `s${i}`,
  session: String(i),
  split: 'train',
  start: 0,
  end: 1,
  segments: [{ start: 0.1, end: 0.5, label: 'angry' }],
}));
const withVoice = (directory) => cp(join(fixtures, 'audio', 'voice.wav'), join(directory, 'voice.wav'));
const csv = `id,audio,label,start,end,segments\none,voice.wav,angry,0,1,"[{""start"":0.1,""end"":0.5,""label"":""angry""}]"\ntwo,voice.wav,neutral,,,\n`;

const tensors = [
  { name: 'encoder.layer_norm.weight', shape: [4, 2], data: new Float32Array(8).fill(1) },
  { name: 'encoder.layer_norm.bias', shape: [3], data: new Float32Array(3) },
];
const moments = tensors.map(({ name, data }) => ({ name, m: data, v: data }));

async function writeCheckpoint(directory) {
  const state = { step: 7, best: { ua: 0.5 }, ids: ['a'] };
  await saveTrainingState(join(directory, 'checkpoint'), storedForm({ tensors, moments, state }));
}
const predictor = (directory) => writeTinyPredictor(join(directory, 'model'));

/** Without resampling, which takes longer than all else. */
async function decode(bytes, path) {
  for await (const _block of decodeBytes(bytes, path));
}

/** From the directory to the model's answer to a short sound: everything that a stranger's model can reach. */
async function useModel(directory) {
  const engine = Engine.create({ threads: 1 });
  try {
    const { model } = await loadClassifier(engine, directory, 'fp32');
    const length = Math.min(4800, 4 * model.geometry.receptiveField);
    if (model.geometry.frames(length) < 1) return;
    const samples = Float32Array.from({ length }, (_, i) => Math.sin(i / 9));
    await model.classify(packSamples([samples], model.geometry.stride, [directory]));
  } finally {
    engine.dispose();
  }
}
const withForm = (directory, name) => cp(join(fixtures, 'forms', name), join(directory, 'model'), { recursive: true });
const formOf = (path) => loadPretrained(dirname(path));
const modelOf = (path) => useModel(dirname(path));

const request = {
  config: parseConfig({}),
  model: null,
  corpus: { name: 'c', utterances: [], problems: [] },
  folds: [],
  skipped: [{ id: 'one', file: '/audio/one.wav', code: 'ERR_AUDIO', reason: 'it is cut short' }],
};
async function beginRun(directory) {
  const run = await openRunDirectory(join(directory, 'run'), async () => request, { versions: { emoframe: '0' } });
  run.release();
  return run;
}

const holder = Buffer.from('{"pid":1,"host":"here","since":"2026-01-01T00:00:00.000Z"}\n');
async function useLock(bytes, path) {
  const take = async () => (await openRunDirectory(dirname(path), async () => request, {})).release();
  // The file is removed with the lock.
  writeFileSync(path, bytes);
  const descriptor = openSync(path, 'r+');
  lockDescriptor(descriptor);
  try {
    await take().then(
      () => {
        throw new Error('a lock was taken that another has');
      },
      (error) => {
        if (error.code !== 'ERR_RUN_IN_USE') throw error;
      },
    );
  } finally {
    closeSync(descriptor);
  }
  await take();
}

/**
 * `file`: where the mutated input goes, below the case's directory. `prepare(directory)`: what must lie around it, written
 * once. `seeds(directory)`: the valid inputs. `structured`: mutations that keep the outer form valid. `text`: whether
 * mutations of text make sense. `read`: the reader. `readBytes`: the same of bytes, where it has such a form, which is faster.
 */
export const readers = {
  safetensors: {
    file: 'model.safetensors',
    seeds: () =>
      all('checkpoints/dtypes.safetensors', 'checkpoints/base/model.safetensors', 'checkpoints/float8.safetensors'),
    structured: mutateHeader,
    read: readSafetensors,
  },
  torch: {
    file: 'pytorch_model.bin',
    seeds: () => all('checkpoints/views.bin', 'checkpoints/views.protocol5.bin', 'checkpoints/extra.bin'),
    structured: mutateArchive,
    read: readTorch,
  },
  'torch-legacy': {
    file: 'pytorch_model.bin',
    seeds: () => all('checkpoints/legacy.bin', 'kinds/wav2vec_fairseq.pt'),
    structured: mutateStream,
    read: readTorch,
  },
  fairseq: {
    file: 'hubert.pt',
    seeds: () =>
      all(
        'kinds/hubert_fairseq.pt',
        'kinds/hubert_fairseq_ctc.pt',
        'kinds/hubert_s3prl.pt',
        'forms/emotion2vec/model.pt',
      ),
    structured: mutateArchive,
    read: loadPretrained,
  },
  'kmeans-model': {
    file: 'km.bin',
    seeds: () =>
      all(
        ...['mini.bin', 'before.bin', 'full.joblib', 'pickled.pkl', 'mini.gz.bin'].map(
          (name) => `kinds/kmeans/${name}`,
        ),
      ),
    structured: mutatePickle,
    read: readCentroidFile,
  },
  'form-weights': {
    file: 'model/model.safetensors',
    prepare: (directory) => withForm(directory, 'audeering'),
    structured: mutateHeader,
    read: formOf,
  },
  'speechbrain-weights': {
    file: 'model/model.ckpt',
    prepare: (directory) => withForm(directory, 'speechbrain'),
    structured: mutateArchive,
    read: formOf,
  },
  'shard-index': {
    file: 'model/model.safetensors.index.json',
    text: true,
    prepare: (directory) =>
      cp(join(fixtures, 'kinds', 'sharded_safetensors'), join(directory, 'model'), { recursive: true }),
    structured: json,
    read: (path) => loadPretrained(dirname(path)),
  },
  pickle: {
    file: 'data.pkl',
    seeds: async () =>
      (await all('checkpoints/views.bin', 'checkpoints/views.protocol5.bin', 'checkpoints/half/pytorch_model.bin')).map(
        (archive) => unzip(archive).find(({ name }) => name.endsWith('data.pkl')).bytes,
      ),
    structured: mutatePickle,
    read: async (path) => unpickle(await readFile(path), path),
    readBytes: async (bytes, path) => unpickle(bytes, path),
  },
  npy: {
    file: 'array.npy',
    seeds: () =>
      all('checkpoints/float32.npy', 'checkpoints/float64.npy', 'checkpoints/int32.npy', 'checkpoints/fortran.npy'),
    structured: mutateNpyHeader,
    read: readNpy,
  },
  wav: {
    file: 'sound.wav',
    seeds: async () =>
      // Short: what is tested is the header, and a resampling takes longer than all else.
      (
        await all('audio/voice.wav', 'audio/float32.wav', 'audio/pcm24.wav', 'audio/piped.wav', 'audio/stereo48k.wav')
      ).map((bytes) => bytes.subarray(0, 20_000)),
    read: loadAudio,
    readBytes: decode,
  },
  flac: {
    file: 'sound.flac',
    seeds: () => all('audio/voice.flac', 'audio/stereo48k.flac'),
    read: loadAudio,
    readBytes: decode,
  },
  // A range is searched for between frames.
  'flac-range': {
    file: 'sound.flac',
    seeds: () => all('audio/frames.flac'),
    read: (path) => loadAudio(path, { startSeconds: 5, endSeconds: 5.5 }),
  },
  mp3: {
    file: 'sound.mp3',
    seeds: () => all('audio/short.mp3', 'audio/untagged.mp3'),
    read: loadAudio,
    readBytes: decode,
  },
  opus: {
    file: 'sound.opus',
    seeds: () => all('audio/short.opus', 'audio/stereo.opus'),
    structured: mutateOgg,
    read: loadAudio,
    readBytes: decode,
  },
  vorbis: {
    file: 'sound.ogg',
    seeds: () => all('audio/short.ogg'),
    structured: mutateOgg,
    read: loadAudio,
    readBytes: decode,
  },
  // What is damaged is made again: a cache never fails, and never gives anything else than decoding.
  'audio-cache': {
    file: 'entry',
    prepare: async (directory) => {
      await useCache(directory);
      await cp(await cacheEntry(directory), join(directory, 'entry'));
    },
    read: async (path) => {
      await cp(path, await cacheEntry(dirname(path)));
      const samples = await useCache(dirname(path));
      if (!Buffer.from(samples.buffer).equals(Buffer.from((await loadAudio(cached)).buffer))) {
        throw new Error('the cache gave other samples than decoding');
      }
    },
  },
  // What is remembered of a file: where it is wrong, the file is looked at again.
  'audio-cache-record': {
    file: 'record',
    prepare: async (directory) => {
      await useCache(directory);
      await cp(await cacheRecord(directory), join(directory, 'record'));
    },
    read: async (path) => {
      await cp(path, await cacheRecord(dirname(path)));
      const samples = await useCache(dirname(path));
      if (!Buffer.from(samples.buffer).equals(Buffer.from((await loadAudio(cached)).buffer))) {
        throw new Error('the cache gave other samples than decoding');
      }
    },
  },
  'manifest-jsonl': {
    file: 'manifest.jsonl',
    text: true,
    prepare: withVoice,
    seeds: async () => [Buffer.from(rows.map((row) => JSON.stringify(row)).join('\n'))],
    structured: jsonLine,
    read: readCorpus,
  },
  'manifest-csv': {
    file: 'manifest.csv',
    text: true,
    prepare: withVoice,
    seeds: async () => [Buffer.from(csv), Buffer.from('audio\nvoice.wav\n')],
    read: readCorpus,
  },
  scp: {
    file: 'train.scp',
    text: true,
    prepare: withVoice,
    seeds: async () => [Buffer.from('one voice.wav 3\ntwo voice.wav 1\n'), Buffer.from('one,voice.wav,3\n')],
    read: readCorpus,
  },
  ...corpora,
  'run-config': {
    file: 'run.json',
    text: true,
    seeds: async () => [
      Buffer.from(JSON.stringify(parseConfig({}))),
      Buffer.from('{"preset":"demo","cluster":{"kmeans":{"clusters":50}},"evaluate":{"switchingCost":4}}'),
    ],
    structured: json,
    read: (path) => readConfig(path),
  },
  'model-config': {
    file: 'model/config.json',
    text: true,
    prepare: predictor,
    structured: json,
    read: modelOf,
  },
  preprocessor: {
    file: 'model/preprocessor_config.json',
    text: true,
    prepare: predictor,
    structured: json,
    read: modelOf,
  },
  'model-weights': {
    file: 'model/model.safetensors',
    prepare: predictor,
    structured: mutateHeader,
    read: modelOf,
  },
  'processor-config': {
    file: 'model/processor_config.json',
    text: true,
    prepare: (directory) => withForm(directory, 'wav2vec2'),
    seeds: async () => [Buffer.from('{"feature_extractor":{"do_normalize":false,"sampling_rate":16000}}')],
    structured: json,
    read: formOf,
  },
  'public-config': {
    file: 'model/config.json',
    text: true,
    prepare: (directory) => withForm(directory, 'audeering'),
    structured: json,
    read: formOf,
  },
  'odyssey-config': {
    file: 'model/config.json',
    text: true,
    prepare: (directory) => withForm(directory, 'odyssey'),
    structured: json,
    read: formOf,
  },
  'emotion2vec-settings': {
    file: 'model/config.yaml',
    text: true,
    prepare: (directory) => withForm(directory, 'emotion2vec'),
    read: formOf,
  },
  'emotion2vec-labels': {
    file: 'model/tokens.txt',
    text: true,
    prepare: (directory) => withForm(directory, 'emotion2vec'),
    read: formOf,
  },
  'speechbrain-settings': {
    file: 'model/hyperparams.yaml',
    text: true,
    prepare: (directory) => withForm(directory, 'speechbrain'),
    read: formOf,
  },
  'speechbrain-labels': {
    file: 'model/label_encoder.txt',
    text: true,
    prepare: (directory) => withForm(directory, 'speechbrain'),
    read: formOf,
  },
  'head-description': {
    file: 'model/emoframe.json',
    text: true,
    prepare: predictor,
    structured: json,
    read: modelOf,
  },
  'head-tensors': {
    file: 'head.safetensors',
    prepare: (directory) => writeHead(directory, { kind: 'classifier', labels: ['a', 'b'], pooling: 'mean', tensors }),
    structured: mutateHeader,
    read: (path) => readHead(dirname(path)),
  },
  centroids: {
    file: 'model/clusters/centroids.safetensors',
    prepare: predictor,
    structured: mutateHeader,
    read: readCentroids,
  },
  'checkpoint-state': {
    file: 'checkpoint/state.json',
    text: true,
    prepare: writeCheckpoint,
    structured: json,
    read: async (path) => readAll(await openTrainingState(dirname(path))),
  },
  'checkpoint-moments': {
    file: 'checkpoint/moments.safetensors',
    prepare: writeCheckpoint,
    structured: mutateHeader,
    read: async (path) => readAll(await openTrainingState(dirname(path))),
  },
  'stage-mark': {
    file: 'stage/done.json',
    text: true,
    prepare: (directory) => writeFile(join(directory, 'stage', 'result.json'), '{}'),
    seeds: async () => [
      Buffer.from(
        `{"time":"2026-01-01T00:00:00.000Z","seconds":1.5,"files":{"result.json":{"bytes":2,"sha256":"${createHash('sha256').update('{}').digest('hex')}"}}}`,
      ),
    ],
    structured: json,
    read: (path) => verifyResult(join(dirname(path), 'result.json')),
  },
  log: {
    file: 'log.jsonl',
    text: true,
    seeds: async () => [Buffer.from('{"step":1,"loss":4.6}\n{"step":2,"loss":null,"rows":[1,{"a":"b"}]}\n')],
    structured: jsonLine,
    read: async (path) => {
      const log = JsonlLog.open(path);
      await log.retain(({ step }) => step !== 2);
      log.write({ step: 3 });
      await log.close();
    },
  },
  ...hubReaders,
  addon: addonReader,
  'run-record': {
    file: 'run/config.json',
    text: true,
    prepare: beginRun,
    structured: json,
    read: async (path) => (await openRunDirectory(dirname(path), async () => request, {})).release(),
  },
  'run-corpus': {
    file: 'run/corpus.json',
    text: true,
    prepare: beginRun,
    structured: json,
    read: async (path) => (await openRunDirectory(dirname(path), async () => request, {})).release(),
  },
  // Read while another has it, and when it is free.
  'run-lock': {
    file: 'run/run.lock',
    text: true,
    prepare: async (directory) => {
      await beginRun(directory);
      await writeFile(join(directory, 'run/run.lock'), holder);
    },
    read: async (path) => useLock(await readFile(path), path),
    readBytes: useLock,
  },
  'run-log': {
    file: 'run/log.jsonl',
    text: true,
    prepare: (directory) => writeSyntheticRun(join(directory, 'run'), { utterances: 4 }),
    structured: jsonLine,
    read: (path) => writeReport(dirname(path)),
  },
  'run-skipped': {
    file: 'run/skipped.json',
    text: true,
    prepare: beginRun,
    structured: json,
    read: async (path) => (await openRunDirectory(dirname(path), async () => request, {})).release(),
  },
  'run-summary': {
    file: 'run/summary.json',
    text: true,
    prepare: (directory) => writeSyntheticRun(join(directory, 'run')),
    structured: json,
    read: (path) => writeReport(dirname(path)),
  },
  'run-predictions': {
    file: 'run/folds/session5/evaluate/predictions.jsonl',
    text: true,
    prepare: (directory) => writeSyntheticRun(join(directory, 'run'), { utterances: 4 }),
    structured: jsonLine,
    read: (path) => writeReport(join(dirname(path), '../../..')),
  },
};

/** The valid inputs of a reader, whose directory is prepared. */
export async function seedsOf(reader, directory) {
  if (reader.seeds) return reader.seeds();
  return [await readFile(join(directory, reader.file))];
}

/** Puts around the input what must lie there. */
export async function prepare(reader, directory) {
  await mkdir(join(directory, dirname(reader.file)), { recursive: true });
  await reader.prepare?.(directory);
}

export async function place(reader, directory, bytes) {
  const path = join(directory, reader.file);
  await writeFile(path, bytes);
  return path;
}
