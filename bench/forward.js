// Forward pass of HuBERT-base over one utterance: emoframe, ONNX Runtime and PyTorch. See README.md.
import { join } from 'node:path';
import { readFloat32, relativeError, writeFloat32 } from './harness/float32.js';
import { onceGraph } from './harness/graph.js';
import { noise, saveBaseModel } from './harness/model.js';
import { readOptions } from './harness/options.js';
import { report } from './harness/report.js';
import { choose, takeTurns } from './harness/turns.js';
import { inFolder, once } from './harness/workplace.js';

const settings = readOptions('Forward pass of HuBERT-base (random weights) over one utterance.', {
  seconds: { default: 10, help: 'length of the utterance' },
});
const samples = settings.seconds * 16000;
// ‖difference‖ / ‖hidden‖ from the first contender.
const tolerance = { fp32: 1e-4, bf16: 5e-2 };

await inFolder(settings.folder, async (folder) => {
  const model = join(folder, `base-${settings.seed}`);
  const graph = (form) => join(folder, `base-${settings.seed}-${settings.seconds}s-${form}.onnx`);
  const emoframe = { library: 'emoframe', script: 'emoframe_forward.js' };
  const onnx = { library: 'ONNX Runtime', precision: 'fp32', script: 'onnxruntime_forward.js' };
  const torch = { library: 'PyTorch', script: 'torch_forward.py' };
  const contenders = choose(
    [
      ...['fp32', 'bf16'].map((precision) => ({
        ...emoframe,
        name: `emoframe ${precision}`,
        precision,
        load: { model, precision },
      })),
      ...['eager', 'sdpa'].flatMap((form) =>
        ['static', 'dynamic'].map((shape) => ({
          ...onnx,
          name: `ONNX Runtime fp32 ${form} ${shape}`,
          load: { graph: graph(`${form}-${shape}`) },
          graph: { form, shape },
          variant: shape !== 'static',
        })),
      ),
      { ...torch, name: 'PyTorch fp32', precision: 'fp32', load: { model, how: 'plain' } },
      { ...torch, name: 'PyTorch fp32 compiled', precision: 'fp32', load: { model, how: 'compiled' } },
      { ...torch, name: 'PyTorch bf16', precision: 'bf16', load: { model, how: 'plain' } },
      { ...torch, name: 'PyTorch bf16 autocast', precision: 'bf16', load: { model, how: 'autocast' } },
      { ...torch, name: 'PyTorch bf16 compiled', precision: 'bf16', load: { model, how: 'compiled' } },
    ].map((contender) => ({ ...contender, load: { ...contender.load, precision: contender.precision } })),
    settings,
  );
  await once(model, (path) => saveBaseModel(path, settings.seed));
  for (const { graph, load } of contenders)
    if (graph) await onceGraph(load.graph, { model, samples, ...graph }, settings.python);

  const input = join(folder, 'samples.f32');
  const worst = new Map();
  const answered = (answers) => contenders.filter(({ name }) => answers.has(name));
  const { measured, problems } = await takeTurns({
    contenders,
    settings,
    prepare: async (turn) => {
      await writeFloat32(input, noise(samples, settings.seed, turn + settings.warmups));
      return { input, output: folder };
    },
    check: async function* (answers) {
      let expected;
      for (const { name, precision } of answered(answers)) {
        const hidden = await readFloat32(answers.get(name).hidden);
        expected ??= hidden;
        const error = relativeError(hidden, expected);
        if (!(error <= tolerance[precision])) yield `${name} differs by ${error} from ${contenders[0].name}.`;
        worst.set(precision, Math.max(worst.get(precision) ?? 0, error));
      }
    },
  });
  await report(
    {
      bench: 'forward',
      title: `HuBERT-base, forward pass over ${settings.seconds} s of audio`,
      workload: { seconds: settings.seconds },
      measured,
      problems,
      comparisons: [
        ['emoframe fp32', 'ONNX Runtime', 'fp32'],
        ['emoframe bf16', 'ONNX Runtime', 'fp32'],
        ['emoframe fp32', 'PyTorch', 'fp32'],
        ['emoframe bf16', 'PyTorch', 'bf16'],
      ],
      agreement: `Hidden states differ from ${contenders[0].name} by at most ${[...worst]
        .map(([precision, error]) => `${error.toExponential(1)} in ${precision}`)
        .join(', ')} (‖difference‖ / ‖hidden‖).`,
    },
    settings,
  );
});
