// Many short utterances to the logits of their emotions: emoframe, ONNX Runtime and PyTorch. See README.md.
import { join } from 'node:path';
import { PhiloxStream } from '../dist/random/philox.js';
import { relativeError, writeFloat32 } from './harness/float32.js';
import { onceGraph } from './harness/graph.js';
import { noise, saveBaseModel } from './harness/model.js';
import { readOptions } from './harness/options.js';
import { report } from './harness/report.js';
import { choose, takeTurns } from './harness/turns.js';
import { inFolder, once } from './harness/workplace.js';

const settings = readOptions(
  'Many short utterances through HuBERT-base (random weights), mean pooling and a classifier, to their logits.',
  {
    utterances: { default: 24, help: 'utterances a run' },
    shortest: { default: 2, help: 'seconds of the shortest; lengths are drawn evenly' },
    longest: { default: 15, help: 'seconds of the longest' },
  },
  { runs: 3, onDevice: true },
);
const { utterances, shortest, longest, seed } = settings;
const labels = ['angry', 'happy', 'neutral', 'sad'];
// Apart from the streams of the package and of the other inputs.
const site = 0x60000003;
const lengthStream = new PhiloxStream(seed, 0, site);
const lengths = Array.from({ length: utterances }, () =>
  Math.round(16000 * (shortest + (longest - shortest) * lengthStream.uniform())),
);
const total = lengths.reduce((sum, length) => sum + length, 0);
// ‖difference‖ / ‖logits‖ from the first contender, of all utterances together.
const tolerance = { fp32: 1e-4, tf32: 6e-3, bf16: 5e-2 };
const precisions = settings.device === 'cpu' ? ['fp32', 'bf16'] : ['fp32', 'tf32', 'bf16'];

/** Logits say the same, and probabilities know them, up to a constant an utterance. */
function centred(logits) {
  const out = Float32Array.from(logits);
  for (let first = 0; first < out.length; first += labels.length) {
    const row = out.subarray(first, first + labels.length);
    const mean = row.reduce((sum, value) => sum + value, 0) / labels.length;
    row.forEach((value, index) => {
      row[index] = value - mean;
    });
  }
  return out;
}

await inFolder(settings.folder, async (folder) => {
  const model = join(folder, `classifier-${seed}`);
  const graph = (form) => join(folder, `classifier-${seed}-${form}.onnx`);
  const emoframe = { library: 'emoframe', script: 'emoframe_inference.js' };
  const onnx = { library: 'ONNX Runtime', precision: 'fp32', script: 'onnxruntime_inference.js' };
  const torch = { library: 'PyTorch', script: 'torch_inference.py' };
  const contenders = choose(
    [
      ...precisions.map((precision) => ({ ...emoframe, name: `emoframe ${precision}`, precision })),
      ...['eager', 'sdpa'].map((form) => ({
        ...onnx,
        name: `ONNX Runtime fp32 ${form}`,
        load: { graph: graph(form) },
        graph: { form },
      })),
      ...[
        { precision: 'fp32', how: 'plain' },
        ...(settings.device === 'cpu' ? [] : [{ precision: 'tf32', how: 'plain' }]),
        { precision: 'bf16', how: 'autocast' },
        { precision: 'bf16', how: 'plain', variant: true },
        { precision: 'fp32', how: 'compiled', variant: true },
        { precision: 'bf16', how: 'compiled', variant: true },
      ].flatMap(({ precision, how, variant = false }) =>
        (settings.device === 'cpu' ? [1, 4, 8] : [8, 32]).map((batchSize) => ({
          ...torch,
          name: `PyTorch ${precision}${how === 'plain' ? '' : ` ${how}`}, batches of ${batchSize}`,
          precision,
          load: { how, batchSize },
          variant,
        })),
      ),
    ].map((contender) => ({
      ...contender,
      load: { model, lengths, ...contender.load, precision: contender.precision },
    })),
    settings,
  );
  await once(model, (path) => saveBaseModel(path, seed, { labels }));
  for (const { graph, load } of contenders)
    if (graph) await onceGraph(load.graph, { model, samples: 160000, shape: 'dynamic', ...graph }, settings.python);

  const input = join(folder, 'utterances.f32');
  const worst = new Map();
  const answered = (answers) => contenders.filter(({ name }) => answers.has(name));
  const { measured, problems } = await takeTurns({
    contenders,
    settings,
    prepare: async (turn) => {
      await writeFloat32(input, noise(total, seed, turn + settings.warmups));
      return { input };
    },
    check: async function* (answers) {
      const expected = centred([...answers.values()][0].logits);
      for (const { name, precision } of answered(answers)) {
        const error = relativeError(centred(answers.get(name).logits), expected);
        if (!(error <= tolerance[precision])) yield `Logits of ${name} differ by ${error} from ${contenders[0].name}.`;
        worst.set(precision, Math.max(worst.get(precision) ?? 0, error));
      }
    },
  });
  const seconds = total / 16000;
  await report(
    {
      bench: 'inference',
      title: `HuBERT-base, ${utterances} utterances of ${shortest} to ${longest} s (${seconds.toFixed(1)} s) to logits`,
      workload: { lengths, seconds },
      measured,
      problems,
      comparisons: [
        ['emoframe fp32', 'ONNX Runtime', 'fp32'],
        ['emoframe bf16', 'ONNX Runtime', 'fp32'],
        ['emoframe fp32', 'PyTorch', 'fp32'],
        ...precisions.slice(1).map((precision) => [`emoframe ${precision}`, 'PyTorch', precision]),
      ],
      rate: { work: seconds, unit: 'audio s / s' },
      agreement: `Logits, less their mean over classes, differ from those of ${contenders[0].name} by at most ${[
        ...worst,
      ]
        .map(([precision, error]) => `${error.toExponential(1)} in ${precision}`)
        .join(', ')} (‖difference‖ / ‖logits‖).`,
    },
    settings,
  );
});
