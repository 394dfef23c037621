// A step of masked prediction with the feature encoder frozen, and its AdamW update: emoframe and PyTorch. See README.md.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { maskSpans } from '../dist/batch/masks.js';
import { Geometry } from '../dist/model/geometry.js';
import { parseHubertConfig } from '../dist/model/hubertConfig.js';
import { PhiloxStream } from '../dist/random/philox.js';
import { writeFloat32 } from './harness/float32.js';
import { noise, saveBaseModel } from './harness/model.js';
import { readOptions } from './harness/options.js';
import { report } from './harness/report.js';
import { choose, takeTurns } from './harness/turns.js';
import { inFolder, once } from './harness/workplace.js';

const settings = readOptions(
  'A training step of HuBERT-base (random weights) by masked prediction.',
  {
    utterances: { default: 8, help: 'utterances a step' },
    shortest: { default: 2, help: 'seconds of the shortest; lengths rise evenly' },
    longest: { default: 8, help: 'seconds of the longest' },
    clusters: { default: 500, help: 'number of clusters' },
    encode: { default: false, help: 'run the frozen feature encoder in every step instead of once' },
  },
  { onDevice: true },
);
// layerdrop would make steps differ in length.
const config = { layerdrop: 0 };
const geometry = new Geometry(parseHubertConfig({ model_type: 'hubert', ...config }).shape);
const { utterances, shortest, longest, clusters, encode } = settings;
const lengths = Array.from({ length: utterances }, (_, index) =>
  Math.round(16000 * (shortest + ((longest - shortest) * index) / Math.max(utterances - 1, 1))),
);
const frames = lengths.map((length) => geometry.frames(length));
const totalFrames = frames.reduce((sum, count) => sum + count, 0);
const seconds = lengths.reduce((sum, length) => sum + length, 0) / 16000;
// PyTorch's step: of all utterances, and on a GPU also in smaller batches, whose gradients are accumulated.
const batchSizes = [utterances, ...(settings.device === 'cpu' ? [] : [8, 16].filter((size) => size < utterances))];
// Apart from the streams of the package and of noise().
const site = 0x60000001;
// Relative, of the step without dropout and of those with it, whose masks of dropout differ from contender to contender.
const tolerances = {
  fp32: { loss: 1e-5, gradientNorm: 1e-3 },
  tf32: { loss: 1e-3, gradientNorm: 6e-3 },
  bf16: { loss: 1e-2, gradientNorm: 5e-2 },
};
const precisions = settings.device === 'cpu' ? ['fp32', 'bf16'] : ['fp32', 'tf32', 'bf16'];
const dropoutTolerance = 0.1;

/** Labels i32 and mask u8 of all frames, utterances end to end, written as files. */
async function writeTargets(folder, turn) {
  const random = new PhiloxStream(settings.seed, turn, site);
  const labels = Int32Array.from({ length: totalFrames }, () => random.integer(clusters));
  const mask = new Uint8Array(totalFrames);
  let first = 0;
  for (const count of frames) {
    maskSpans(mask.subarray(first, first + count), { probability: 0.8, length: 10, minimumSpans: 2 }, 0.5, random);
    first += count;
  }
  const files = { labels: join(folder, 'labels.i32'), mask: join(folder, 'mask.u8') };
  await writeFile(files.labels, Buffer.from(labels.buffer));
  await writeFile(files.mask, mask);
  return files;
}

await inFolder(settings.folder, async (folder) => {
  const model = join(folder, `training-${settings.seed}-${clusters}`);
  const samples = join(folder, 'utterances.f32');
  const load = { model, samples, lengths, encode };
  const emoframe = { library: 'emoframe', script: 'emoframe_training.js' };
  const torch = { library: 'PyTorch', script: 'torch_training.py' };
  const contenders = choose(
    [
      ...precisions.map((precision) => ({ ...emoframe, name: `emoframe ${precision}`, precision })),
      ...precisions.flatMap((precision) =>
        batchSizes.flatMap((batchSize) =>
          [false, true].map((compiled) => ({
            ...torch,
            name: `PyTorch ${precision}${precision === 'bf16' ? ' autocast' : ''}${compiled ? ' compiled' : ''}${batchSize < utterances ? `, batches of ${batchSize}` : ''}`,
            precision,
            load: { compiled, batchSize },
            variant: compiled,
          })),
        ),
      ),
    ].map((contender) => ({ ...contender, load: { ...load, ...contender.load, precision: contender.precision } })),
    settings,
  );
  await once(model, (path) => saveBaseModel(path, settings.seed, { clusters, config }));
  await writeFloat32(samples, noise((seconds * 16000) | 0, settings.seed, 0));

  const worst = Object.fromEntries(precisions.map((precision) => [precision, { loss: 0, gradientNorm: 0 }]));
  const first = -settings.warmups - 1;
  const answered = (answers) => contenders.filter(({ name }) => answers.has(name));
  const { measured, problems } = await takeTurns({
    contenders,
    settings: { ...settings, warmups: settings.warmups + 1 },
    // The first step, which warms up too, is without dropout: only then do all compute the same.
    prepare: async (turn) => ({
      ...(await writeTargets(folder, turn - first)),
      step: turn - first,
      dropout: turn > first,
    }),
    check: async function* (answers, turn) {
      const [expected] = answers.values();
      for (const { name, precision } of answered(answers))
        for (const quantity of ['loss', 'gradientNorm']) {
          const found = answers.get(name)[quantity];
          const error = Math.abs(found / expected[quantity] - 1);
          const tolerance = turn === first ? tolerances[precision][quantity] : dropoutTolerance;
          if (!(error <= tolerance))
            yield `${quantity} of ${name} is ${found} in step ${turn - first}, of ${contenders[0].name} ${expected[quantity]}.`;
          if (turn === first) worst[precision][quantity] = Math.max(worst[precision][quantity], error);
        }
    },
  });
  const percent = (ratio) => `${(100 * ratio).toPrecision(1)} %`;
  await report(
    {
      bench: encode ? 'training-encode' : 'training',
      title:
        `HuBERT-base, masked prediction, ${utterances} utterances of ${shortest} to ${longest} s (${seconds} s), feature encoder frozen, ` +
        (encode ? 'its output computed in every step' : 'its output computed once'),
      workload: { lengths, seconds, clusters, encode },
      measured,
      problems,
      comparisons: [...precisions.map((precision) => [`emoframe ${precision}`, 'PyTorch', precision])],
      rate: { work: seconds, unit: 'audio s / s' },
      agreement: `Without dropout loss and gradient norm differ from those of ${contenders[0].name} by at most ${precisions
        .filter((precision) => contenders.some((contender) => contender.precision === precision))
        .map(
          (precision) =>
            `${percent(worst[precision].loss)} and ${percent(worst[precision].gradientNorm)} in ${precision}`,
        )
        .join(', ')}.`,
    },
    settings,
  );
});
