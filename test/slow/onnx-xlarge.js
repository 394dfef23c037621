// A model of the size of HuBERT-xlarge (random weights, 3.9 GB) as ONNX: its weights do not fit into one file, and pass from file to
// file in a memory that does not follow their size. With `--run`, ONNX Runtime and our own engine then run on a second of noise.
// By hand: it needs 8 GB of disk and, with `--run`, 9 GB of memory. Ends with `N passed, N failed`.
//
//   node test/slow/onnx-xlarge.js [--run]
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { noise } from '../../bench/harness/model.js';
import { encoderShapes } from '../../dist/checkpoint/shapes.js';
import { Encoder, parseHubertConfig, writeSafetensors } from '../../dist/index.js';
import { elementsOf } from '../../dist/model/tensor.js';
import { yieldWhenDue } from '../../dist/yield.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { values } = parseArgs({ options: { run: { type: 'boolean', default: false } } });
/** Node, its heap, the two largest tensors (26 MB each), and buffers. */
const mostBytes = 300 * 2 ** 20;
const config = {
  model_type: 'hubert',
  hidden_size: 1280,
  num_hidden_layers: 48,
  num_attention_heads: 16,
  intermediate_size: 5120,
  feat_extract_norm: 'layer',
  conv_bias: true,
  do_stable_layer_norm: true,
};

/** Weights in the range in which layers neither fade nor grow. */
function* randomTensors() {
  let state = 1;
  for (const [name, shape] of encoderShapes(parseHubertConfig(config).shape)) {
    const count = elementsOf({ shape });
    const scale = Math.sqrt(3 / (count / shape[0]));
    const read = async (into) => {
      const out = into.subarray(0, count);
      if (name.includes('layer_norm.weight') || name.endsWith('original0')) return out.fill(1);
      if (name.endsWith('.bias')) return out.fill(0);
      for (let i = 0; i < count; i++) {
        if (i % 65536 === 0) await yieldWhenDue();
        state = (Math.imul(state, 1664525) + 1013904223) | 0;
        out[i] = (scale * state) / 2 ** 31;
      }
      return out;
    };
    yield { name, shape, read };
  }
}

/** Exports in a process of its own; gives the most memory that it had, in bytes. */
function exportIt(model, out) {
  const script = `
    const { exportModel } = await import(${JSON.stringify(join(root, 'dist', 'index.js'))});
    await exportModel(${JSON.stringify(model)}, { format: 'onnx', out: ${JSON.stringify(out)} });
    console.log(process.resourceUsage().maxRSS);`;
  return 1024 * Number(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }));
}

async function compare(model, out) {
  const { InferenceSession, Tensor } = createRequire(join(root, 'bench', 'package.json'))('onnxruntime-node');
  const samples = noise(16000, 1, 0);
  const encoder = await Encoder.load(model);
  const { hidden } = await encoder.encode(samples);
  await encoder.dispose();
  const session = await InferenceSession.create(join(out, 'model.onnx'));
  const input = new Tensor('float32', samples, [1, samples.length]);
  const { last_hidden_state } = await session.run({ input_values: input });
  const largest = hidden.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return hidden.reduce((most, value, i) => Math.max(most, Math.abs(value - last_hidden_state.data[i])), 0) / largest;
}

const folder = mkdtempSync(join(tmpdir(), 'emoframe-xlarge-'));
let failed = 0;
try {
  const [model, out] = [join(folder, 'xlarge'), join(folder, 'xlarge-onnx')];
  mkdirSync(model, { recursive: true });
  writeFileSync(join(model, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(model, 'model.safetensors'), randomTensors());
  const started = performance.now();
  const bytes = exportIt(model, out);
  const seconds = (performance.now() - started) / 1000;
  for (const name of readdirSync(out)) process.stdout.write(`${name}: ${statSync(join(out, name)).size} bytes\n`);
  process.stdout.write(
    `exported in ${seconds.toFixed(0)} s with at most ${(bytes / 2 ** 20).toFixed(0)} MiB of memory\n`,
  );
  assert.ok(statSync(join(out, 'model.onnx_data')).size > 2 ** 31);
  assert.ok(bytes < mostBytes, `${bytes} bytes of memory`);
  if (values.run) {
    const difference = await compare(model, out);
    process.stdout.write(`hidden states differ by ${difference.toExponential(1)} of the largest\n`);
    assert.ok(difference < 1e-4);
  }
} catch (error) {
  failed = 1;
  process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(`${1 - failed} passed, ${failed} failed\n`);
process.exit(failed);
