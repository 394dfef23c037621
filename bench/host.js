// What prediction costs the host from samples to results, on a CUDA runtime that computes nothing (null-cuda):
//   npm run build:addon && cmake --build build --target null_addon && node bench/host.js [--batches 30] [--form base|large]
// Batches of about 340 s of utterances of 2 to 14 s go through predictMany. A model of the chosen form is made with as many
// layers and kernels as the published one, but narrow: widths change nothing for the host. Reported, a batch, are: time on a
// processor of the thread that runs JavaScript and of the engine's, as the system counts it, so that a busy machine
// disturbs little; the time that passes; and what the runtime was asked for.
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { batches: { type: 'string', default: '30' }, form: { type: 'string', default: 'base' } },
});
const batches = Number(values.batches);
const built = fileURLToPath(new URL('../build/null', import.meta.url));
if (!existsSync(join(built, 'counts.node'))) {
  process.stderr.write('host: build/null is missing: run "cmake --build build --target null_addon" first.\n');
  process.exit(2);
}
process.env.EMOFRAME_PREBUILD = built;
const { counts, reset } = createRequire(import.meta.url)(join(built, 'counts.node'));
const { EmotionModel, Engine, parseHubertConfig, savePretrained } = await import('../dist/index.js');
const { isEncoderName } = await import('../dist/checkpoint/names.js');

const labels = ['angry', 'happy', 'neutral', 'sad'];
const large = values.form === 'large';
const config = parseHubertConfig({
  model_type: 'hubert',
  hidden_size: 128,
  num_hidden_layers: large ? 24 : 12,
  num_attention_heads: 16,
  intermediate_size: 256,
  feat_extract_norm: large ? 'layer' : 'group',
  conv_bias: large,
  do_stable_layer_norm: large,
});
const dir = await mkdtemp(join(tmpdir(), 'emoframe-host-'));
try {
  await writePredictor(dir);
  const model = await EmotionModel.load(dir, { device: 'cuda:0', precision: 'bf16' });
  const [samples, seconds] = utterances();
  // More than the caches hold, as audio that was just decoded is.
  const sets = Array.from({ length: 8 }, () => samples.map((utterance) => utterance.slice()));
  const run = async (count) => {
    let frames = 0;
    const inputs = Array.from({ length: count }, (_, i) => sets[i % sets.length]).flat();
    for await (const { columns } of model.predictMany(inputs)) frames += columns.attention.length;
    return frames;
  };
  await run(6);
  reset();
  const before = await threadTimes();
  const began = performance.now();
  await run(batches);
  const passed = (performance.now() - began) / batches;
  const after = await threadTimes();
  const spent = [...after].map(([id, time]) => [id, (time - (before.get(id) ?? 0)) / 1e6 / batches]);
  const others = spent.filter(([id]) => id !== process.pid).map(([, time]) => time);
  const javaScript = spent.find(([id]) => id === process.pid)[1];
  const engine = Math.max(...others);
  const slower = Math.max(javaScript, engine);
  const asked = Object.entries(counts()).map(([name, count]) => `${name} ${Number((count / batches).toPrecision(4))}`);
  console.log(
    `${seconds.toFixed(0)} s of audio in ${samples.length} utterances a batch of ${model.batchSeconds} s, ${values.form} form`,
  );
  console.log(
    `JavaScript's thread ${javaScript.toFixed(2)} ms, the engine's ${engine.toFixed(2)} ms, all others ${(others.reduce((sum, time) => sum + time, 0) - engine).toFixed(2)} ms`,
  );
  console.log(
    `one after the other ${Math.round((1000 * seconds) / (javaScript + engine))} audio-seconds a second, side by side ${Math.round((1000 * seconds) / slower)}; ${passed.toFixed(2)} ms passed`,
  );
  console.log(asked.join(', '));
  // What is made only when it is read: of thirty batches, the first of which warm the code.
  const predictions = [];
  for await (const prediction of model.predictMany(Array.from({ length: 30 }, () => samples).flat()))
    predictions.push(prediction);
  const read = (of) => predictions.reduce((sum, prediction) => sum + prediction[of].length, 0) / 30;
  const took = [];
  for (const of of ['frames', 'segments']) {
    const start = mainThread();
    const count = read(of);
    took.push(`${count} ${of} ${((mainThread() - start) / 1e6 / 30).toFixed(2)} ms`);
  }
  console.log(`when they are read, a batch: ${took.join(', ')}`);
  await model.dispose();
} finally {
  await rm(dir, { recursive: true, force: true });
}

/** Weights do not matter, as nothing is computed. */
async function writePredictor(directory) {
  const engine = Engine.create({ device: 'cpu' });
  const pooling = 'attention';
  const model = await engine.createModel({
    config,
    precision: 'fp32',
    classifier: { classes: labels.length, pooling },
  });
  const tensors = await model.exportTensors();
  engine.dispose();
  const [encoder, head] = [true, false].map((wanted) => tensors.filter(({ name }) => isEncoderName(name) === wanted));
  await savePretrained(directory, {
    config,
    tensors: encoder,
    normalize: true,
    head: { kind: 'classifier', labels, pooling, tensors: head },
  });
}

/** Utterances that fill a batch, and their seconds together. */
function utterances() {
  const lengths = [];
  let total = 0;
  for (let i = 0; ; i++) {
    const length = Math.round(16_000 * (2 + 12 * ((i * 0.618_034) % 1)));
    if (total + length > 340 * 16_000) break;
    lengths.push(length);
    total += length;
  }
  return [
    lengths.map((length, i) => new Float32Array(length).map((_, t) => Math.sin(t * (0.01 + 0.001 * i)))),
    total / 16_000,
  ];
}

/** Nanoseconds on a processor, of this thread. */
function mainThread() {
  return Number.parseInt(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8'), 10);
}

/** The same, of every thread of this process. */
async function threadTimes() {
  const ids = await readdir('/proc/self/task');
  const times = await Promise.all(
    ids.map((id) => readFile(`/proc/self/task/${id}/schedstat`, 'utf8').catch(() => '0')),
  );
  return new Map(ids.map((id, i) => [Number(id), Number.parseInt(times[i], 10)]));
}
