// Hidden states of several files in one pass, with the native engine itself.
//
//   node engine.js MODEL_DIR LAYER FILE...
import { Engine, loadAudio, loadPretrained, packSamples } from 'emoframe';

const [dir, layer, ...files] = process.argv.slice(2);
const { config, tensors, normalize } = await loadPretrained(dir);
const engine = Engine.create({ device: 'cpu' });
const model = await engine.createModel({ config, precision: 'fp32' });
await model.importTensors(tensors.values());
// Utterances lie end to end on one time axis; offsets give their bounds in frames.
const batch = packSamples(await Promise.all(files.map((file) => loadAudio(file))), model.geometry.stride, { normalize });
const { hidden, offsets } = await model.encode(batch, Number(layer)); // f32 [T, C]
files.forEach((file, b) => console.log(`${file}: ${offsets[b + 1] - offsets[b]} frames`));
console.log(`${hidden.length / offsets[files.length]} numbers a frame`);
engine.dispose();
