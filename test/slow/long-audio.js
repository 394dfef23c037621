// Half an hour of audio through `emoframe encode` and `emoframe predict`, each in a process of its own whose largest memory
// is measured. `--size base` does it with a model of HuBERT-base's size and takes a quarter of an hour of two processors;
// the default is a small model, where what is measured is that memory follows the windows and not the recording.
//
//   node test/slow/long-audio.js [--size small|base] [--minutes 30]
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { wavHeader } from '../support/wav.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { values } = parseArgs({
  options: { size: { type: 'string', default: 'small' }, minutes: { type: 'string', default: '30' } },
});
const minutes = Number(values.minutes);
// Bytes that a process may take. A small model's are for Node, the samples (4 bytes a sample), and the JSON.
const limits = { small: 700 * 2 ** 20, base: 2 * 2 ** 30 };
const limit = limits[values.size];
if (limit === undefined || !(minutes > 0)) throw new Error('Expected --size small or base, and minutes above 0.');

/** Runs a command to its end; gives its output, and the most memory that it had, in bytes. */
function measured(words) {
  const reportMemory = 'process.on("exit",()=>process.stderr.write("\\nmaxRSS "+process.resourceUsage().maxRSS+"\\n"))';
  return new Promise((resolve, reject) => {
    const started = Date.now();
    const child = spawn(process.execPath, ['--import', `data:text/javascript,${reportMemory}`, ...words], {
      cwd: root,
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (part) => {
      stdout += part;
    });
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part;
    });
    child.on('error', reject);
    child.on('close', (code) => {
      const bytes = 1024 * Number(/maxRSS (\d+)/.exec(stderr)?.[1] ?? Number.NaN);
      if (code === 0) resolve({ stdout, stderr, bytes, seconds: (Date.now() - started) / 1000 });
      else reject(new Error(`${words.join(' ')} ended with ${code}: ${stderr}`));
    });
  });
}

/** 44.1 kHz stereo: a minute of syllables, again and again, ever louder. */
function writeRecording(path) {
  const rate = 44100;
  const frames = Math.round(60 * minutes * rate);
  const minute = Float32Array.from({ length: 60 * rate }, (_, i) => {
    const t = i / rate;
    const envelope = Math.max(0, Math.sin(Math.PI * 3.7 * t + Math.sin(1.7 * t))) ** 1.5;
    return 0.4 * envelope * Math.sin(2 * Math.PI * 140 * t + 3 * Math.sin(2 * Math.PI * 2.3 * t)) * Math.sin(0.3 * t);
  });
  const file = openSync(path, 'w');
  writeSync(file, wavHeader(frames, 2, rate));
  for (let first = 0; first < frames; first += minute.length) {
    const block = new Int16Array(2 * Math.min(minute.length, frames - first));
    const gain = 0.3 + (0.7 * first) / frames;
    for (let i = 0; i < block.length; i++) block[i] = Math.round(32767 * gain * minute[i >> 1] * (i % 2 ? 0.5 : 1));
    writeSync(file, new Uint8Array(block.buffer));
  }
  closeSync(file);
}

/** A predictor with random weights, written by a process of its own. */
async function writeModel(dir) {
  const shape =
    values.size === 'base'
      ? {}
      : { hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 128 };
  const conv = values.size === 'base' ? {} : { conv_dim: [32, 32, 32, 32, 32, 32, 32] };
  const script = `
    import { Engine, parseHubertConfig, savePretrained } from ${JSON.stringify(join(root, 'dist', 'index.js'))};
    const config = parseHubertConfig(${JSON.stringify({ model_type: 'hubert', ...shape, ...conv })});
    const labels = ['angry', 'happy', 'neutral', 'sad'];
    const engine = Engine.create();
    const classifier = { classes: labels.length, pooling: 'attention' };
    const model = await engine.createModel({ config, precision: 'fp32', classifier });
    await model.initialize(1);
    const tensors = await model.exportTensors();
    const isHead = ({ name }) => /^(pooling|classifier)\\./.test(name);
    const head = { kind: 'classifier', labels, pooling: 'attention', tensors: tensors.filter(isHead) };
    await savePretrained(${JSON.stringify(dir)}, { config, tensors: tensors.filter((t) => !isHead(t)), normalize: true, head });
    engine.dispose();`;
  await measured(['--input-type=module', '--eval', script]);
}

const counts = { passed: 0, failed: 0 };
function check(what, holds) {
  counts[holds ? 'passed' : 'failed']++;
  process.stdout.write(`${holds ? 'ok    ' : 'FAILED'} ${what}\n`);
}

const dir = mkdtempSync(join(tmpdir(), 'emoframe-long-audio-'));
try {
  const [audio, model] = [join(dir, 'talk.wav'), join(dir, 'model')];
  writeRecording(audio);
  await writeModel(model);
  const frames = Math.floor((60 * minutes * 16000 - 400) / 320) + 1;
  const cli = join('dist', 'cli', 'main.js');
  const memory = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB of at most ${limit / 2 ** 20}`;

  const encoded = await measured([cli, 'encode', audio, '--model', model, '--out', dir, '--json']);
  const [reported] = JSON.parse(encoded.stdout);
  check(
    `encode: ${reported.frames} frames of ${minutes} minutes, in ${encoded.seconds.toFixed(0)} s`,
    reported.frames === frames,
  );
  check(
    `encode: windows ${JSON.stringify(reported.windows)}`,
    reported.windows?.seconds > 0 && reported.windows.overlap > 0,
  );
  check(`encode: progress on stderr`, /encode talk {2}\d+\/\d+ {2}seconds of audio/.test(encoded.stderr));
  check(`encode: ${memory(encoded.bytes)}`, encoded.bytes <= limit);

  const predicted = await measured([cli, 'predict', audio, '--model', model, '--json']);
  const [prediction] = JSON.parse(predicted.stdout);
  check(
    `predict: ${prediction.frames.length} frames, in ${predicted.seconds.toFixed(0)} s`,
    prediction.frames.length === frames,
  );
  check(`predict: windows ${JSON.stringify(prediction.windows)}`, prediction.windows?.seconds > 0);
  const attention = prediction.frames.reduce((sum, frame) => sum + frame.attention, 0);
  check(`predict: attention sums to ${attention.toFixed(6)}`, Math.abs(attention - 1) < 1e-4);
  check(
    `predict: segments end at ${prediction.segments.at(-1).end} s`,
    prediction.segments.at(-1).end === 60 * minutes,
  );
  check(`predict: ${memory(predicted.bytes)}`, predicted.bytes <= limit);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed\n`);
process.exit(counts.failed === 0 ? 0 : 1);
