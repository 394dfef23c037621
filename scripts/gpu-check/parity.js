// What emoframe computes of HuBERT-base, for parity.py to compare:
//   node parity.js prepare FOLDER SECONDS       draws the model, utterances, masks and labels into the folder
//   node parity.js compute FOLDER DEVICE PRECISION graphs|single FILE   hidden states, loss and all gradients into a safetensors file;
//     all is done three times, so that graphs are made and then replayed, and what comes last counts
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { noise, saveBaseModel } from '../../bench/harness/model.js';
import { maskSpans } from '../../dist/batch/masks.js';
import { packSamples } from '../../dist/batch/pack.js';
import { loadPretrained } from '../../dist/checkpoint/pretrained.js';
import { readSafetensors, writeSafetensors } from '../../dist/checkpoint/safetensors.js';
import { Engine } from '../../dist/model/engine.js';
import { Geometry } from '../../dist/model/geometry.js';
import { PhiloxStream } from '../../dist/random/philox.js';

const clusters = 500;
const layers = [0, 6, 12];

async function prepare(folder, seconds) {
  await mkdir(folder, { recursive: true });
  const seed = Date.now() % 2 ** 31;
  const directory = join(folder, 'model');
  await saveBaseModel(directory, seed, { clusters, config: { layerdrop: 0 } });
  const geometry = new Geometry((await loadPretrained(directory)).config.shape);
  const random = new PhiloxStream(seed, 0, 0x60000004);
  const tensors = [];
  for (const [index, part] of [1, 0.37, 0.71].entries()) {
    const data = noise(Math.round(16000 * part * seconds), seed, index);
    const frames = geometry.frames(data.length);
    const mask = new Uint8Array(frames);
    maskSpans(mask, { probability: 0.8, length: 10, minimumSpans: 2 }, 0.5, random);
    const labels = Float32Array.from(mask, () => random.integer(clusters));
    tensors.push(
      { name: `utterance.${index}`, shape: [data.length], data },
      { name: `mask.${index}`, shape: [frames], data: Float32Array.from(mask) },
      { name: `labels.${index}`, shape: [frames], data: labels },
    );
  }
  await writeSafetensors(join(folder, 'input.safetensors'), tensors);
}

async function compute(folder, device, precision, how, file) {
  const { tensors: input } = await readSafetensors(join(folder, 'input.safetensors'));
  const all = (kind) => [0, 1, 2].map((index) => input.get(`${kind}.${index}`).data);
  const { config, tensors, head } = await loadPretrained(join(folder, 'model'));
  const engine = Engine.create({ device, graphs: how === 'graphs' });
  const model = await engine.createModel({ config, precision, maskedPrediction: { clusters } });
  await model.importTensors([...tensors.values(), ...head.tensors]);
  const batch = packSamples(all('utterance'), model.geometry.stride);
  const mask = Uint8Array.from(all('mask').flatMap((values) => [...values]));
  const denominator = mask.reduce((sum, value) => sum + value, 0);
  const labels = Int32Array.from(all('labels').flatMap((values) => [...values]));
  const hiddenStates = async () => {
    const results = [];
    for (const layer of layers) {
      const { hidden, offsets } = await model.encode(batch, layer);
      const shape = [offsets.at(-1), hidden.length / offsets.at(-1)];
      results.push({ name: `hidden.${layer}`, shape, data: hidden });
    }
    return results;
  };
  const step = async () => {
    await model.clearGradients();
    const { lossSum } = await model.trainStep(batch, {
      objective: 'masked-prediction',
      labels,
      mask,
      denominator,
      featurePenalty: 0,
      featureGradientScale: 1,
      seed: 1,
      step: 0,
      dropout: false,
    });
    return { name: 'loss', shape: [1], data: Float32Array.of(lossSum / denominator) };
  };
  const repeats = how === 'graphs' ? 3 : 1;
  let results;
  for (let repeat = 0; repeat < repeats; repeat++) results = await hiddenStates();
  for (let repeat = 1; repeat < repeats; repeat++) await step();
  results.push(await step());
  console.log(JSON.stringify(await engine.graphs()));
  for (const { name, shape, data } of await model.exportGradients())
    results.push({ name: `gradient.${name}`, shape, data });
  await writeSafetensors(file, results);
  engine.dispose();
}

const [what, ...words] = process.argv.slice(2);
await (what === 'prepare' ? prepare(words[0], Number(words[1])) : compute(...words));
