// What is disturbed: the stages of a small run, each from the state that the one before it left, and the other commands that write.
// Each begins from a folder, leaves a folder, and must leave the same when it is disturbed and run again.
import { cpSync, mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { filesOf, startHub } from '../../support/hubServer.js';
import { runContents } from '../../support/runContents.js';
import { tinyConfig, writeTinyCorpus } from '../../support/tinyCorpus.js';
import { everyKind } from './modes.js';

const fixtures = fileURLToPath(new URL('../../fixtures', import.meta.url));

// A training state within each stage, and in the first as many as are removed again.
const kmeans = { ...tinyConfig.cluster.kmeans, maxIterations: 3 };
const pretraining = { ...tinyConfig.pretrain, updates: 3 };
const fineTuning = { ...tinyConfig.finetune, epochs: 1, batchSize: 4 };
const config = {
  ...tinyConfig,
  model: { ...tinyConfig.model, num_hidden_layers: 1 },
  mfcc: { ...pretraining, updates: 7, kmeans },
  tapt: { ...pretraining, layer: 1, kmeans },
  finetune: fineTuning,
  cluster: { layer: 1, kmeans },
  pretrain: pretraining,
  align: { ...fineTuning, network: { epochs: 1, batchSize: 4, maxSeconds: 3, width: 8, blocks: 1 } },
  checkpoint: { everyUpdates: 2 },
  evaluate: { bootstrapSamples: 50 },
};
export const stages = ['mfcc', 'tapt', 'finetune', 'cluster', 'pretrain', 'align', 'timeline'];

/** Without what caches may leave for a while. */
function cacheContents(directory) {
  return new Map([...runContents(directory)].filter(([path]) => !path.includes('.new-')));
}

/** With where links lead. */
function hubContents(directory) {
  const contents = runContents(directory);
  // When and as which file a blob was verified; and locks, which mean nothing when nobody holds them.
  for (const path of contents.keys()) if (/(^|\/)\.(verified|locks)\//.test(path)) contents.delete(path);
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    if (entry.isSymbolicLink()) contents.set(path.slice(directory.length), readlinkSync(path));
  }
  return contents;
}

/**
 * The scenarios, made by running each once: `{ name, before?, words, again, environment?, contents, calls, after }`. `words` and
 * `again` make the command for a directory, when it is first run and when it is repeated; `before` is what the directory holds at
 * first; `calls` are those beside it and in it, `after` its contents at the end. Of one that is `lenient`, a disturbed command may
 * succeed and leave less: a cache.
 *
 * @returns the scenarios and `close()`
 */
export async function makeScenarios(folder, disk, program) {
  const manifest = writeTinyCorpus(join(folder, 'corpus'));
  const configFile = join(folder, 'config.json');
  writeFileSync(configFile, JSON.stringify(config));
  const request = (command, directory, ...more) => [
    command,
    manifest,
    '--config',
    configFile,
    '--out',
    directory,
    '--folds',
    's3',
    '--threads',
    '1',
    ...more,
  ];
  const resumed = (command) => (directory) => request(command, directory, '--resume');
  const scenarios = [];
  const states = {};

  /** Runs it undisturbed, and keeps what it leaves as the state of its name. */
  async function add({ contents = runContents, ...scenario }) {
    const place = join(folder, 'undisturbed');
    const directory = join(place, 'run');
    rmSync(place, { recursive: true, force: true });
    mkdirSync(place);
    if (scenario.before !== undefined) cpSync(scenario.before, directory, { recursive: true, verbatimSymlinks: true });
    const environment = scenario.environment?.(directory) ?? {};
    disk.disturb({ directory: place, kinds: everyKind, tracing: true });
    const outcome = await program.run({ words: scenario.words(directory), place, environment });
    disk.calm();
    if (outcome.code !== 0)
      throw new Error(`${scenario.name}, undisturbed: ${outcome.line} ${outcome.behind.join('\n')}`);
    const state = join(folder, 'states', scenario.name.replaceAll(' ', '-'));
    cpSync(directory, state, { recursive: true, verbatimSymlinks: true });
    states[scenario.name] = state;
    scenarios.push({
      ...scenario,
      contents,
      calls: disk.calls(),
      after: contents(directory),
      ...(scenario.prints && { printed: outcome.printed.replaceAll(place, '') }),
    });
    return state;
  }

  let state;
  for (const stage of stages) {
    const words = state === undefined ? (directory) => request(stage, directory) : resumed(stage);
    state = await add({ name: stage, before: state, words, again: resumed(stage) });
  }
  // Evaluation, summary and report.
  const finished = await add({ name: 'run', before: state, words: resumed('run'), again: resumed('run') });
  const predictor = join(finished, 'folds', 's3', 'predictor');

  const report = (directory) => ['report', directory, '--audio'];
  await add({ name: 'report', before: finished, words: report, again: report });
  const sweep = (directory) => [...request('sweep', directory, '--resume'), '--layers', '0,1', '--clusters', '2,3'];
  await add({ name: 'sweep', before: finished, words: sweep, again: sweep });
  const exported =
    (format, ...more) =>
    (directory, from = predictor) => ['export', from, '--format', format, '--out', directory, ...more];
  const hf = await add({ name: 'export hf', words: exported('hf'), again: exported('hf') });
  await add({
    name: 'export onnx',
    words: exported('onnx', '--external-data'),
    again: exported('onnx', '--external-data'),
  });
  const replacing = exported('hf', '--overwrite', '--license', 'mit');
  await add({ name: 'export over an earlier one', before: hf, words: replacing, again: replacing });

  const audio = ['s1_0', 's1_1'].map((name) => join(folder, 'corpus', `${name}.wav`));
  const model = join(fixtures, 'encode', 'base');
  const encode = (directory) => ['encode', ...audio, '--model', model, '--out', directory, '--threads', '1'];
  const goingOn = (directory) => [...encode(directory), '--on-existing', 'skip'];
  await add({ name: 'encode', words: encode, again: goingOn });
  const compressed = ['stereo48k.flac', 'short.mp3'].map((name) => join(fixtures, 'audio', name));
  const cached = (directory) => [
    'encode',
    ...compressed,
    '--model',
    model,
    '--out',
    `${directory}-features`,
    '--on-existing',
    'replace',
    '--audio-cache',
    directory,
    '--threads',
    '1',
  ];
  const cache = await add({
    name: 'audio cache',
    words: cached,
    again: cached,
    contents: cacheContents,
    lenient: true,
  });
  const clear = (directory) => ['cache', directory, '--clear'];
  await add({ name: 'cache clear', before: cache, words: clear, again: clear, contents: cacheContents });

  // What is read lies where calls fail too.
  await add({
    name: 'export of a run',
    before: finished,
    words: (directory) => exported('hf')(join(directory, 'exported'), join(directory, 'folds', 's3', 'predictor')),
    again: (directory) =>
      exported('hf', '--overwrite')(join(directory, 'exported'), join(directory, 'folds', 's3', 'predictor')),
  });
  const inputs = join(folder, 'inputs');
  mkdirSync(join(inputs, 'corpus'), { recursive: true });
  for (const file of audio) cpSync(file, join(inputs, 'corpus', basename(file)));
  const rows = audio.map((file, index) => ({ audio: basename(file), label: ['angry', 'neutral'][index] }));
  writeFileSync(join(inputs, 'corpus', 'manifest.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  cpSync(predictor, join(inputs, 'predictor'), { recursive: true });
  const predict = (directory) => [
    'predict',
    join(directory, 'corpus'),
    '--model',
    join(directory, 'predictor'),
    '--format',
    'json',
    '--threads',
    '1',
  ];
  await add({ name: 'predict', before: inputs, words: predict, again: predict, prints: true });
  const corpus = (directory) => ['corpus', join(directory, 'corpus'), '--json'];
  await add({ name: 'corpus', before: inputs, words: corpus, again: corpus, prints: true });

  const commit = 'c0ffee'.padEnd(40, '0');
  const hub = await startHub({ 'who/base': { revisions: { main: commit }, commits: { [commit]: filesOf(model) } } });
  const download = (directory) => [
    'encode',
    audio[0],
    '--model',
    'who/base',
    '--out',
    `${directory}-features`,
    '--on-existing',
    'replace',
    '--threads',
    '1',
  ];
  const environment = (directory) => ({ HF_ENDPOINT: hub.url, HF_HUB_CACHE: directory });
  await add({ name: 'download', words: download, again: download, environment, contents: hubContents });
  return { scenarios, close: () => hub.close() };
}
