// The emotion of an audio file with ONNX Runtime, from the output of `emoframe export --format onnx`.
//
//   npm install onnxruntime-node
//   node onnx-runtime.js EXPORT_DIR FILE
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadAudio } from 'emoframe';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const [dir, file] = process.argv.slice(2);
const { id2label } = JSON.parse(await readFile(join(dir, 'config.json'), 'utf8'));
const session = await InferenceSession.create(join(dir, 'model.onnx'));
const samples = await loadAudio(file); // 16 kHz mono
const { logits, frame_posteriors, attention } = await session.run({
  input_values: new Tensor('float32', samples, [1, samples.length]),
});
const best = logits.data.indexOf(Math.max(...logits.data));
const heaviest = attention.data.indexOf(Math.max(...attention.data));
console.log(`${id2label[best]}: ${frame_posteriors.dims[1]} frames, most attention at ${(heaviest * 0.02).toFixed(2)} s`);
