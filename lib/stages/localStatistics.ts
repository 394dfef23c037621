// What an alignment network's input is normalised by: statistics of the training audio in place of each utterance's own, which would
// show every frame the whole utterance, as the neutral frames of an angry utterance are quieter than those of a neutral one.
import { packLocally, packSamples } from '../batch/pack.js';
import { groupBy, mapLimited } from '../lists.js';
import type { SoundStatistics } from '../model/alignment.js';
import type { Model } from '../model/model.js';
import { MomentSum } from '../model/momentSum.js';
import type { Tensor } from '../model/tensor.js';
import { yieldWhenDue } from '../yield.js';
import { framesOf, type StageContext, samplesOf } from './context.js';
import { framesIn } from './inputs.js';

/** Utterances that statistics are taken of at most. */
const mostUtterances = 500;

/** Of the samples of training utterances, and of the first convolution's windows where its norm is over time. */
export async function soundStatistics(context: StageContext, model: Model): Promise<SoundStatistics> {
  let [count, sum, squares] = [0, 0, 0];
  for await (const sounds of trainingSounds(context, model)) {
    for (const samples of sounds) {
      await yieldWhenDue();
      for (const sample of samples) {
        sum += sample;
        squares += sample ** 2;
      }
      count += samples.length;
    }
  }
  const mean = sum / count;
  // As where an utterance is brought to unit variance.
  const waveform = { mean, scale: 1 / Math.sqrt(squares / count - mean ** 2 + 1e-7) };
  const { groupNorm, convKernel } = model.config.shape;
  if (!groupNorm) return { waveform };
  const kernel = convKernel[0]!;
  const windows = new MomentSum(kernel);
  for await (const sounds of trainingSounds(context, model)) {
    const batch = packSamples(sounds, model.geometry.stride, { normalize: sounds.map(() => waveform) });
    const { mean: means, covariance, counts } = await model.windowMoments(batch);
    for (const [index, windowCount] of counts.entries()) {
      const [own, square] = [index * kernel, index * kernel ** 2];
      windows.add(means.subarray(own, own + kernel), covariance.subarray(square, square + kernel ** 2), windowCount);
    }
  }
  const { windowMean, windowCovariance } = windows.moments();
  return { waveform, windows: { mean: [...windowMean], covariance: [...windowCovariance] } };
}

/** Mean of each column of the network's input, and one over its standard deviation, as the network keeps them. */
export async function inputStatistics(
  context: StageContext,
  model: Model,
  statistics: SoundStatistics,
): Promise<Tensor[]> {
  let rows = 0;
  let sums = new Float64Array();
  let squares = new Float64Array();
  for await (const sounds of trainingSounds(context, model)) {
    const { hidden, offsets } = await model.alignmentInput(packLocally(sounds, model.geometry.stride, statistics));
    const frames = offsets.at(-1)!;
    const columns = hidden.length / frames;
    if (rows === 0) [sums, squares] = [new Float64Array(columns), new Float64Array(columns)];
    for (let row = 0; row < hidden.length; row += columns) {
      if (row % (columns * 4096) === 0) await yieldWhenDue();
      for (let c = 0; c < columns; c++) {
        sums[c]! += hidden[row + c]!;
        squares[c]! += hidden[row + c]! ** 2;
      }
    }
    rows += frames;
  }
  const mean = Float32Array.from(sums, (sum) => sum / rows);
  const factor = Float32Array.from(squares, (square, c) => {
    const variance = Math.max(square / rows - (sums[c]! / rows) ** 2, 0);
    return 1 / (Math.sqrt(variance) + 1e-5);
  });
  const shape = [mean.length];
  return [
    { name: 'alignment.input_mean', shape, data: mean },
    { name: 'alignment.input_factor', shape, data: factor },
  ];
}

/** Sounds of training utterances, spread evenly over them, as many at a time as a pass takes. */
async function* trainingSounds(context: StageContext, model: Model): AsyncGenerator<Float32Array[]> {
  const { train } = context.fold;
  const wanted = Math.min(train.length, mostUtterances);
  const ids = Array.from({ length: wanted }, (_, index) => train[Math.floor((index * train.length) / wanted)]!);
  const items = (await framesOf(context, model.geometry, ids)).filter(({ frames }) => frames > 0);
  const capacity = framesIn(context.config.memory.passSeconds, model.geometry);
  for (const group of groupBy(items, ({ frames }) => frames, capacity))
    yield mapLimited(group, ({ id }) => samplesOf(context, id));
}
