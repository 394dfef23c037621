// How a change that should change no result is shown to change none: a small part of everything is done by the code before and
// by the code after, and what they leave is compared byte for byte.
//
//   node scripts/golden.js write BEFORE --package ../before     (a checkout of the commit before, compiled)
//   node scripts/golden.js write AFTER                          (this one, compiled)
//   node scripts/golden.js compare BEFORE AFTER                 (exit code 1 where they differ)
//
// It stands on the command line and the public interface alone, so that nothing in it moves with the code. All is on a CPU in
// fp32, with seeds and two threads. Only what `blanks` names may differ.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const fixtures = join(root, 'test', 'fixtures');
const threads = 2;

// ——— What may differ: moments and durations, and where things lie. Libraries' versions are named in no file that is compared.

const blanks = [
  { file: /(^|\/)done\.json$/, fields: ['time', 'seconds'] },
  { file: /(^|\/)summary\.json$/, fields: ['seconds'] },
  {
    file: /(^|\/)log\.jsonl$/,
    fields: ['time'],
    pattern: /,"(audioSecondsPerSecond|flopsPerSecond|peakShare)":[-+.\de]+/g,
  },
  // What `run --json` prints holds the summary.
  { file: /^output\/(scratch|published)\.json$/, fields: ['seconds'] },
  // Checksums of files that name audio by its path; the files themselves are compared, without the folder.
  { file: /\/evaluate\/done\.json$/, pattern: /"(predictions|baseline)\.jsonl":\{[^}]*\}/g },
  { file: /(^|\/)report\.html$/, pattern: /<li>run in <b>[^<]*<\/b><\/li>/ },
  // TensorBoard's: `wall_time` opens each record, the name has the moment at which the file was opened, and some curves are speeds.
  { file: /(^|\/)events\.[^/]*$/, name: 'events', decode: withoutTimes },
];

/** The data of TFRecords: length (8 bytes), its checksum (4), data, checksum (4). Field 1 of an event is a double, tag 0x09. */
function withoutTimes(bytes) {
  const records = [];
  for (let at = 0; at < bytes.length; ) {
    const data = Buffer.from(bytes.subarray(at + 12, at + 12 + Number(bytes.readBigUInt64LE(at))));
    if (data[0] === 0x09) data.fill(0, 1, 9);
    if (!/\/(audioSecondsPerSecond|flopsPerSecond|peakShare)/.test(data.toString('latin1'))) records.push(data);
    at += 16 + data.length;
  }
  return Buffer.concat(records);
}

/** Numbers of these names become 0 in JSON text, wherever they stand in it; moments written as text become ''. */
function withoutFields(text, fields) {
  for (const name of fields) text = text.replaceAll(new RegExp(`("${name}":\\s*)(?:[-+.\\de]+|"[^"]*")`, 'g'), '$10');
  return text;
}

/** Path → bytes of everything in a folder, without what may differ. */
function contents(dir) {
  const { paths } = JSON.parse(readFileSync(join(dir, 'golden.json'), 'utf8'));
  const found = new Map();
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    const path = relative(dir, join(entry.parentPath, entry.name));
    if (path === 'golden.json') continue;
    if (entry.isDirectory()) {
      if (readdirSync(join(dir, path)).length === 0) found.set(`${path}/`, Buffer.from('empty folder'));
      continue;
    }
    let bytes = readFileSync(join(dir, path));
    let name = path;
    if (/\.(json|jsonl|txt|html|md|ya?ml)$/.test(path)) {
      let text = bytes.toString('utf8');
      for (const [what, where] of Object.entries(paths)) text = text.replaceAll(where, `<${what}>`);
      bytes = Buffer.from(text);
    }
    for (const blank of blanks.filter(({ file }) => file.test(path))) {
      if (blank.fields) bytes = Buffer.from(withoutFields(bytes.toString('utf8'), blank.fields));
      if (blank.pattern) bytes = Buffer.from(bytes.toString('utf8').replace(blank.pattern, ''));
      if (blank.decode) bytes = blank.decode(bytes);
      if (blank.name) name = join(dirname(path), blank.name);
    }
    found.set(name, Buffer.concat([found.get(name) ?? Buffer.alloc(0), bytes]));
  }
  return found;
}

/** Says which files differ and how; gives their number. */
function compare(before, after) {
  const [left, right] = [contents(before), contents(after)];
  const paths = [...new Set([...left.keys(), ...right.keys()])].sort();
  let differing = 0;
  for (const path of paths) {
    const [a, b] = [left.get(path), right.get(path)];
    const how = !a ? `only in ${after}` : !b ? `only in ${before}` : a.equals(b) ? undefined : difference(a, b, path);
    if (how === undefined) continue;
    differing++;
    process.stdout.write(`${path}: ${how}\n`);
  }
  process.stdout.write(`${paths.length - differing} files are the same, ${differing} differ\n`);
  return differing;
}

function difference(a, b, path) {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  const sizes = a.length === b.length ? `${a.length} bytes` : `${a.length} and ${b.length} bytes`;
  const where = `they differ from byte ${at} on (${sizes})${tensorAt(a, at, path)}`;
  if (!/\.(json|jsonl|txt|html|md|ya?ml|log)$/.test(path)) return where;
  const around = (bytes) => JSON.stringify(bytes.toString('utf8', Math.max(0, at - 40), at + 60));
  return `${where}\n  ${around(a)}\n  ${around(b)}`;
}

/** Which tensor of a safetensors file a byte belongs to. */
function tensorAt(bytes, at, path) {
  if (!path.endsWith('.safetensors')) return '';
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  if (at < start) return ', in the header';
  const header = JSON.parse(bytes.toString('utf8', 8, start));
  const inside = ([, { data_offsets: range }]) => range && range[0] <= at - start && at - start < range[1];
  return `, in tensor ${Object.entries(header).find(inside)?.[0]}`;
}

// ——— Audio and corpora

/** Uniform in [0, 1), the same everywhere. */
function uniform(seed) {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

/** A hum whose pitch rises between `start` and `end` seconds, in as many channels as there are pitches. */
function hum(seconds, rate, pitches, random, { start = 0, end = 0 } = {}) {
  const frames = Math.round(seconds * rate);
  const samples = new Int16Array(frames * pitches.length);
  const phases = pitches.map(() => 0);
  for (let i = 0; i < frames; i++) {
    const high = i >= start * rate && i < end * rate;
    for (const [channel, pitch] of pitches.entries()) {
      phases[channel] = (phases[channel] + ((high ? 3 : 1) * pitch) / rate) % 1;
      // A sum of two triangles: no library's sine is asked for.
      const triangle = (phase) => 4 * Math.abs((phase % 1) - 0.5) - 1;
      const voice = 0.5 * triangle(phases[channel]) + 0.2 * triangle(2 * phases[channel]);
      samples[i * pitches.length + channel] = Math.round(16000 * (voice + 0.1 * (random() - 0.5)));
    }
  }
  return samples;
}

function writeWav(path, samples, rate = 16000, channels = 1) {
  const data = Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength);
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + data.length, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(channels, 22);
  header.writeUInt32LE(rate, 24);
  header.writeUInt32LE(rate * channels * 2, 28);
  header.writeUInt16LE(channels * 2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(data.length, 40);
  writeFileSync(path, Buffer.concat([header, data]));
}

const sessions = ['s1', 's2'];
const labels = ['angry', 'neutral', 'sad'];

/** All that the commands are given, in the working folder: `corpus`, `named`, `audio`, and two configs. */
function writeInputs() {
  const random = uniform(7);
  for (const folder of ['corpus', 'named', 'audio']) mkdirSync(join('input', folder), { recursive: true });
  const rows = [];
  for (const session of sessions) {
    for (const label of labels) {
      for (let n = 0; n < 4; n++) {
        const seconds = 0.9 + 0.6 * random();
        const pitch = { angry: 220, neutral: 140, sad: 90 }[label] * (1 + 0.1 * random());
        const range = label === 'neutral' ? undefined : { start: 0.25, end: seconds - 0.2 };
        const audio = `${session}-${label}-${n}.wav`;
        // One in four is of another rate, in two channels.
        const [rate, pitches] = n === 3 ? [44100, [pitch, 1.5 * pitch]] : [16000, [pitch]];
        writeWav(join('input/corpus', audio), hum(seconds, rate, pitches, random, range), rate, pitches.length);
        const segments = range ? [{ ...range, label }] : [];
        rows.push({ id: audio.slice(0, -4), audio, label, session, speaker: `${session}-${n % 2}`, segments });
      }
    }
  }
  writeFileSync('input/corpus/manifest.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const csv = rows.map(({ audio, label, session, speaker }) => `${audio},${label},${session},${speaker}\n`);
  writeFileSync('input/corpus/list.csv', `audio,label,session,speaker\n${csv.join('')}missing.wav,angry,s1,s1-0\n`);
  // RAVDESS's names: emotion, intensity, statement, repetition, actor.
  for (let actor = 1; actor <= 2; actor++) {
    for (const emotion of [1, 4, 5])
      writeWav(`input/named/03-01-0${emotion}-01-02-01-0${actor}.wav`, hum(0.5, 16000, [100 * actor], random));
  }
  writeWav('input/long.wav', hum(7.3, 16000, [150], random, { start: 2, end: 4.5 }));
  writeWav('input/call.wav', hum(2.2, 8000, [150, 210], random, { start: 0.5, end: 1.5 }), 8000, 2);
  for (const name of readdirSync(join(fixtures, 'audio'))) {
    if (!/^[^.]+\.(wav|flac|mp3|ogg|opus)$/.test(name)) continue;
    copyFileSync(join(fixtures, 'audio', name), join('input/audio', name));
  }
  writeFileSync('input/list.txt', `input/call.wav\ninput/audio/voice.wav\n`);
  writeFileSync('input/audio/damaged.flac', readFileSync('input/audio/voice.flac').subarray(0, 9000));
  writeFileSync('input/scratch.json', JSON.stringify({ ...settings(), model, protocol: 'transductive' }));
  writeFileSync('input/published.json', JSON.stringify({ ...settings(), seed: 8, ...published }));
}

const model = {
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  conv_dim: [16, 16, 16, 16, 16, 16, 16],
  num_conv_pos_embeddings: 16,
  num_conv_pos_embedding_groups: 2,
  layerdrop: 0.1,
};

/** Every stage for a few updates, with dropout, crops, several passes an update, members and averages. */
function settings() {
  const kmeans = { clusters: 6, restarts: 2, algorithm: 'lloyd', maxIterations: 10 };
  const masked = { updates: 5, warmupUpdates: 2, batchSeconds: 5, maxSeconds: 1.2, minSeconds: 0.5, dimension: 16 };
  const utterances = { epochs: 2, batchSize: 4, maxSeconds: 2 };
  return {
    seed: 5,
    folds: { validation: { by: 'random', fraction: 0.3 } },
    mfcc: { ...masked, kmeans },
    tapt: { ...masked, layer: 2, kmeans },
    finetune: utterances,
    cluster: { layer: 2, kmeans: { ...kmeans, algorithm: 'mini-batch', batchSize: 100 } },
    pretrain: masked,
    align: {
      ...utterances,
      selection: 'average',
      averageEpochs: 2,
      members: 2,
      concatenate: { share: 1, pauseSeconds: 0.1 },
      network: { epochs: 3, batchSize: 4, maxSeconds: 4, averageEpochs: 2, warmupUpdates: 2, width: 16 },
    },
    evaluate: { bootstrapSamples: 50 },
    memory: { passSeconds: 4 },
    checkpoint: { everyUpdates: 2 },
    logEvery: 1,
  };
}

/** The method as published, from a pretrained model. */
const published = {
  align: { ...settings().align, objective: 'attention', selection: 'validation-ua', members: 1 },
  pretrain: { ...settings().pretrain, startFrom: 'tapt', trainFeatureEncoder: true },
  finetune: { ...settings().finetune, pooling: 'stats', trainFeatureEncoder: true },
};

// ——— What is done

/** Runs a command of the package to its end in the working folder; what it prints is kept as `output/NAME`. */
async function command(program, name, words, codes = [0]) {
  const child = spawn(process.execPath, [program, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, EMOFRAME_AUDIO_CACHE: '', EMOFRAME_DEBUG: '' },
  });
  const printed = ['', ''];
  for (const [i, stream] of [child.stdout, child.stderr].entries())
    stream.setEncoding('utf8').on('data', (text) => {
      printed[i] += text;
    });
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (!codes.includes(code)) throw new Error(`emoframe ${words.join(' ')} ended with ${code}:\n${printed[1]}`);
  writeFileSync(join('output', name), printed[0]);
}

async function commands(program, cache) {
  const emoframe = (name, words, codes) => command(program, name, words, codes);
  const on = ['--device', 'cpu', '--precision', 'fp32', '--threads', String(threads)];
  const corpus = 'input/corpus/manifest.jsonl';
  const pretrained = ['--model', join(fixtures, 'encode', 'base')];
  const both = ['--out', 'output/scratch', '--config', 'input/scratch.json', ...on];
  await emoframe('corpus.json', ['corpus', 'input/corpus/list.csv', '--decode', '--json'], [0, 1]);
  await emoframe('corpus.txt', ['corpus', 'input/corpus/list.csv', 'input/named'], [0, 1]);
  await emoframe('named.json', ['corpus', 'input/named', '--json']);
  await emoframe('scratch.json', ['run', corpus, ...both, '--json']);
  await emoframe('scratch.txt', ['run', corpus, ...both, '--resume']);
  await emoframe('report.json', ['report', 'output/scratch', '--audio', '--json']);
  const sweep = ['--layers', '0,1', '--clusters', '3,5', '--json'];
  await emoframe('sweep.json', ['sweep', corpus, ...both, '--resume', ...sweep]);
  const attention = ['--out', 'output/published', '--config', 'input/published.json', ...pretrained, ...on];
  await emoframe('published.json', ['run', corpus, ...attention, '--folds', 's2', '--audio-cache', cache, '--json']);

  for (const run of ['scratch', 'published']) {
    const predict = (name, ...words) =>
      emoframe(`${run}.${name}`, ['predict', ...words, '--model', `output/${run}/folds/s2/predictor`, ...on], [0, 1]);
    const windows = ['--window-seconds', '2', '--overlap-seconds', '0.5'];
    await predict('text.txt', 'input/call.wav', 'input/corpus/s2-angry-0.wav');
    await predict('predict.json', 'input/audio', '--format', 'json', '--on-corrupt', 'skip');
    await predict('lines.jsonl', '--list', 'input/list.txt', '--format', 'jsonl', '--level', 'match', '--no-clusters');
    await predict('long.json', 'input/long.wav', '--format', 'json', '--switching-cost', '1', ...windows);
    await predict('split.json', 'input/call.wav', '--format', 'json', '--channels', 'split', '--audio-cache', cache);
    await predict('cached.json', 'input/call.wav', '--format', 'json', '--channels', 'split', '--audio-cache', cache);
    for (const format of ['hf', 'onnx']) {
      const out = ['--format', format, '--out', `output/${run}-${format}`, '--license', 'mit', '--name', 'golden'];
      await emoframe(`${run}-${format}.json`, ['export', `output/${run}/folds/s2/predictor`, ...out, '--json']);
    }
  }
  const classifier = ['--architecture', 'HubertForSequenceClassification', '--out', 'output/classifier', '--json'];
  await emoframe('classifier.json', [
    ...['export', 'output/scratch/folds/s1/finetune/model', '--format', 'hf'],
    ...classifier,
  ]);
  const encode = ['encode', 'input/long.wav', 'input/audio/voice.flac', ...on];
  await emoframe('encode.txt', [...encode, ...pretrained, '--out', 'output/encode', '--layer', '1']);
  await emoframe('windows.txt', [
    ...encode,
    ...['--model', join(fixtures, 'encode', 'large'), '--out', 'output/windows'],
    ...['--window-seconds', '3', '--overlap-seconds', '0.5'],
  ]);
}

/** Arrays of numbers as numbers, maps as entries, errors by their codes: messages are for people and may be worded anew. */
function plain(_, value) {
  if (ArrayBuffer.isView(value)) return [...value];
  if (value instanceof Map) return [...value];
  if (value instanceof Error) return { error: value.code ?? value.name };
  return value;
}

async function interfaces(emoframe) {
  const keep = async (name, work) => {
    let result;
    try {
      result = await work();
    } catch (error) {
      if (error.code === undefined) throw error;
      result = error;
    }
    writeFileSync(join('output', 'api', `${name}.json`), JSON.stringify(result, plain, 1));
  };
  const all = async (chunks) => {
    const found = [];
    for await (const chunk of chunks) found.push(chunk);
    return found;
  };
  const wav = readFileSync('input/long.wav');
  const bytes = () => createReadStream('input/call.wav', { highWaterMark: 1000 });
  const samples = Float32Array.from(new Int16Array(wav.buffer.slice(wav.byteOffset + 44)), (value) => value / 32768);
  const parts = async function* () {
    for (let at = 0; at < samples.length; at += 7001) yield samples.subarray(at, at + 7001);
  };
  const raw = async function* () {
    for (let at = 44; at < wav.length; at += 4999) yield wav.subarray(at, at + 4999);
  };
  const windows = { windowSeconds: 2, overlapSeconds: 0.5 };
  const format = { encoding: 's16le', sampleRate: 16000, channels: 1 };
  mkdirSync('output/api', { recursive: true });

  for (const run of ['scratch', 'published']) {
    const model = await emoframe.EmotionModel.load(`output/${run}/folds/s2/predictor`, { threads });
    await keep(`${run}-samples`, () => model.predict(samples, { id: 'samples' }));
    await keep(`${run}-rate`, () => model.predict(samples, { sampleRate: 22050, level: 'match' }));
    await keep(`${run}-bytes`, () => model.predict(bytes(), { id: 'bytes' }));
    await keep(`${run}-part`, () => model.predict({ path: 'input/long.wav', startSeconds: 1.1, endSeconds: 3.7 }));
    await keep(`${run}-channel`, () => model.predict({ path: 'input/call.wav', channel: 2 }));
    const inputs = ['input/long.wav', { id: 'two', audio: wav }, 'input/audio/damaged.flac', 'nowhere.wav', bytes()];
    await keep(`${run}-many`, () => all(model.predictMany(inputs, { onError: 'yield', ...windows, batchSeconds: 3 })));
    await keep(`${run}-stream-file`, () => all(model.stream('input/long.wav', windows)));
    await keep(`${run}-stream-live`, () => all(model.stream(parts(), windows)));
    await keep(`${run}-stream-raw`, () => all(model.stream(raw(), { ...windows, format, switchingCost: 1 })));
    await keep(`${run}-stream-whole`, () => all(model.stream(raw(), { ...windows, format, normalizeBy: 'whole' })));
    await keep(`${run}-plan`, async () => ({ ...(await model.plan(windows)), available: 0 }));
    await keep(`${run}-model`, () => [model.labels, model.timeline, model.latencySeconds(windows), model.batchSeconds]);
    await keep(`${run}-short`, () => model.predict(new Float32Array(100)));
    await keep(`${run}-option`, () => model.predict(samples, { window: 3 }));
    await model.dispose();
  }
  for (const kind of ['base', 'large']) {
    const encoder = await emoframe.Encoder.load(join(fixtures, 'encode', kind), { threads });
    await keep(`encoder-${kind}`, async () => [
      await encoder.encode(samples),
      await encoder.encode(samples, { layer: 0, ...windows }),
    ]);
    await encoder.dispose();
  }
  const part = { startSeconds: 0.05, endSeconds: 0.1 };
  for (const name of readdirSync('input/audio')) {
    const digest = (samples) => createHash('sha256').update(samples).digest('hex');
    await keep(`audio-${name}`, async () => digest(await emoframe.loadAudio(`input/audio/${name}`)));
    await keep(`part-${name}`, () => emoframe.loadAudio(`input/audio/${name}`, part));
  }
  await keep('mfcc', () => emoframe.mfcc(samples.subarray(0, 16000)));
  const corpus = await emoframe.readCorpus('input/corpus/manifest.jsonl');
  await keep('corpus', () => ({ ...corpus, problems: corpus.problems.length }));
  await keep('folds', () => emoframe.makeFolds(corpus, { ...emoframe.parseConfig({}).folds, seed: 1 }));
  await keep('configuration', () => emoframe.parseConfig({}));
  for (const file of ['kinds/hubert_fairseq.pt', 'kinds/wav2vec2_base', 'checkpoints/old', 'kinds/sharded_bin']) {
    await keep(`pretrained-${basename(file)}`, async () => {
      const { tensors, ...described } = await emoframe.loadPretrained(join(fixtures, file));
      const { config, normalize, head } = described;
      await emoframe.savePretrained(`output/api/saved-${basename(file)}`, { config, tensors, normalize, head });
      return described;
    });
  }
}

async function write(dir, source) {
  if (existsSync(dir)) throw new Error(`${dir} is there already: name a folder that is not.`);
  mkdirSync(join(dir, 'output'), { recursive: true });
  const cache = mkdtempSync(join(tmpdir(), 'emoframe-golden-'));
  const paths = { cache, folder: realpathSync(dir), fixtures, package: realpathSync(source) };
  writeFileSync(join(dir, 'golden.json'), JSON.stringify({ paths }));
  process.chdir(dir);
  const started = Date.now();
  try {
    writeInputs();
    await commands(join(source, 'dist', 'cli', 'main.js'), cache);
    await interfaces(await import(pathToFileURL(join(source, 'dist', 'index.js')).href));
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
  process.stdout.write(`written in ${((Date.now() - started) / 1000).toFixed(0)} s\n`);
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { package: { type: 'string' } } });
const [action, ...dirs] = positionals;
if (action === 'write' && dirs.length === 1) await write(resolve(dirs[0]), resolve(values.package ?? root));
else if (action === 'compare' && dirs.length === 2) process.exitCode = compare(...dirs) === 0 ? 0 : 1;
else {
  process.stderr.write('Usage: golden.js write DIR [--package PATH] | compare DIR DIR\n');
  process.exitCode = 2;
}
