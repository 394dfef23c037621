// Forward pass of HuBERT-base (its real size, random weights) over 10 s of audio on the CPU, ours and PyTorch's side by side:
//   npm run compile && node bench/forward.js --python /path/to/python-with-torch-and-transformers
// The two take turns, run after run, so that a busy machine slows both; medians and their ratio are printed, after a check
// that both computed the same hidden states. Without --python only ours is timed.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { savePretrained } from '../dist/checkpoint/pretrained.js';
import { Engine } from '../dist/model/engine.js';
import { parseHubertConfig } from '../dist/model/hubertConfig.js';

const { values } = parseArgs({
  options: {
    python: { type: 'string' },
    runs: { type: 'string', default: '7' },
    threads: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '10' },
  },
});
const runs = Number(values.runs);
const threads = Number(values.threads);
const count = Number(values.seconds) * 16000;

const folder = await mkdtemp(join(tmpdir(), 'emoframe-bench-'));
const engine = Engine.create({ threads });
try {
  const config = parseHubertConfig({ model_type: 'hubert' });
  const samples = Float32Array.from({ length: Math.ceil(count / 320) * 320 }, (_, i) =>
    i < count ? Math.sin(i * 0.02 + Math.sin(i * 0.0007)) + 0.3 * Math.sin(i * 0.31) : 0,
  );
  const batch = { samples, starts: Int32Array.of(0), lengths: Int32Array.of(count) };
  const models = {};
  for (const precision of ['fp32', 'bf16']) {
    models[precision] = await engine.createModel({ config, precision });
    await models[precision].initialize(1);
  }
  let close = () => {};
  const contenders = Object.entries(models).map(([precision, model]) => ({
    name: `emoframe ${precision}`,
    run: async () => {
      const started = performance.now();
      const { hidden } = await model.encode(batch, 'output');
      return { milliseconds: performance.now() - started, hidden };
    },
  }));

  if (values.python) {
    const directory = join(folder, 'model');
    await savePretrained(directory, { config, tensors: await models.fp32.exportTensors(), normalize: true });
    const input = join(folder, 'samples.f32');
    await writeFile(input, samples.subarray(0, count));
    const script = fileURLToPath(new URL('forward_torch.py', import.meta.url));
    const child = spawn(values.python, [script, directory, input, String(threads)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const ask = async (precision) => {
      child.stdin.write(`${precision}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error('The PyTorch side ended early: its message is above.');
      const { milliseconds, hidden } = JSON.parse(value);
      const bytes = Buffer.from(hidden, 'base64');
      return { milliseconds, hidden: new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) };
    };
    for (const precision of ['fp32', 'bf16'])
      contenders.push({ name: `PyTorch ${precision}`, run: () => ask(precision) });
    close = () => child.stdin.end();
  }

  const times = new Map(contenders.map(({ name }) => [name, []]));
  let reference;
  for (let run = -1; run < runs; run++) {
    for (const { name, run: once } of contenders) {
      const { milliseconds, hidden } = await once();
      if (run >= 0) times.get(name).push(milliseconds);
      reference ??= hidden;
      const error = relativeError(hidden, reference);
      if (error > (name.endsWith('bf16') ? 5e-2 : 1e-4))
        throw new Error(`${name} differs by ${error} from ${contenders[0].name}.`);
    }
  }
  close();
  const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
  console.log(
    `HuBERT-base forward, ${values.seconds} s of audio, ${threads} threads, ${engine.path}, median of ${runs}`,
  );
  for (const [name, list] of times) console.log(`${name.padEnd(14)} ${median(list).toFixed(0).padStart(6)} ms`);
  for (const precision of values.python ? ['fp32', 'bf16'] : []) {
    const ratio = median(times.get(`PyTorch ${precision}`)) / median(times.get(`emoframe ${precision}`));
    console.log(`${precision}: ${ratio.toFixed(2)} times PyTorch's speed`);
  }
} finally {
  engine.dispose();
  await rm(folder, { recursive: true, force: true });
}

function relativeError(actual, expected) {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i] - expected[i]) ** 2;
    size += expected[i] ** 2;
  }
  return Math.sqrt(difference / size);
}
