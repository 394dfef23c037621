// Whether the memory that is planned is what the process takes: updates of masked prediction on the CPU with HuBERT-base's
// size, frozen features stored, each precision in a process of its own whose largest memory is measured against the plan.
//
//   node test/slow/memory-plan.js [--seconds 10]
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { values } = parseArgs({ options: { seconds: { type: 'string', default: '10' } } });
const seconds = Number(values.seconds);
if (!(seconds > 0)) throw new Error('Expected seconds above 0.');
const mebibytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;

function program(precision) {
  const modules = (name) => JSON.stringify(join(root, 'dist', name));
  return `
    import { Engine } from ${modules('model/engine.js')};
    import { parseHubertConfig } from ${modules('model/hubertConfig.js')};
    import { packFeatures, packSamples } from ${modules('batch/pack.js')};
    const engine = Engine.create();
    const before = process.memoryUsage.rss();
    const config = parseHubertConfig({ model_type: 'hubert', layerdrop: 0 });
    const model = await engine.createModel({ config, precision: '${precision}', maskedPrediction: { clusters: 100 } });
    const frames = model.geometry.frames(${Math.round(seconds * 16000)});
    const infos = model.tensors();
    const most = Math.max(...infos.map(({ shape }) => shape.reduce((a, b) => a * b, 1)));
    const memory = Float32Array.from({ length: most }, (_, i) => 0.05 * Math.sin(i));
    // One by one, so that no second copy of the weights is in the process.
    for (const { name, shape } of infos) {
      const data = memory.subarray(0, shape.reduce((a, b) => a * b, 1));
      await model.importTensors([{ name, shape, data }], { allowMissing: true });
    }
    model.freeze(['feature_extractor.']);
    const plan = await model.prepare({ objective: 'masked-prediction', frames, utterances: 1, storedFrames: frames, longestStoredFrames: frames });
    const samples = Float32Array.from({ length: model.geometry.samplesFor(frames) }, (_, i) => Math.sin(i * i));
    await model.storeFeatures(['a'], packSamples([samples], model.geometry.stride));
    const batch = packFeatures(['a'], [{ start: 0, count: frames }]);
    const options = { objective: 'masked-prediction', labels: new Int32Array(frames), mask: new Uint8Array(frames).fill(1), denominator: frames, featurePenalty: 0, featureGradientScale: 1, seed: 1, dropout: true };
    for (let step = 1; step <= 2; step++) {
      await model.trainStep(batch, { ...options, step });
      await model.optimizerStep({ learningRate: 1e-5, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0, clipNorm: 1, step });
    }
    const { peak } = await engine.memory();
    console.log(JSON.stringify({ plan, peak, before, most: 1024 * process.resourceUsage().maxRSS }));
    engine.dispose();`;
}

let failed = 0;
const precisions = ['fp32', 'bf16'];
for (const precision of precisions) {
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', program(precision)], {
    encoding: 'utf8',
  });
  if (child.status !== 0) throw new Error(child.stderr);
  const { plan, peak, before, most } = JSON.parse(child.stdout);
  const taken = most - before;
  // Beside the plan a process has its threads' temporaries, a tensor on its way in, and what the C library keeps.
  const good = peak <= plan.total + 2 ** 16 && taken < 1.15 * plan.total + 150 * 2 ** 20;
  if (!good) failed++;
  console.log(
    `${good ? 'ok  ' : 'FAIL'} ${precision}, ${seconds} s: planned ${mebibytes(plan.total)} (weights ${mebibytes(plan.weights)}, gradients and moments ${mebibytes(plan.gradients + plan.moments)}, a pass ${mebibytes(plan.activations)}), the engine took ${mebibytes(peak)}, the process ${mebibytes(taken)} more than before`,
  );
}
console.log(`${precisions.length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
