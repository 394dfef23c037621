// What a model is, what it takes, and how fast it is here.
import { dirname, join } from 'node:path';
import type { Normalization } from '../audio/normalize.js';
import type { Form, ReadingOptions } from '../checkpoint/forms/form.js';
import { classifierOptions, type Head } from '../checkpoint/head.js';
import { openCheckpoint } from '../checkpoint/source.js';
import { isIndex, readShardIndex } from '../checkpoint/weights.js';
import { statsOf } from '../files/read.js';
import { given } from '../given.js';
import type { ClassifierOptions, PoolingName } from '../model/binding.js';
import { Geometry } from '../model/geometry.js';
import { EmotionModel } from './emotionModel.js';
import { Encoder } from './encoder.js';
import type { TimelineMethod } from './inference.js';
import type { InferenceOptions } from './options.js';
import type { PredictionMemory } from './passMemory.js';
import type { Task } from './prediction.js';

/** What a checkpoint says of a model. */
interface Description {
  /** In which form it was published. */
  form: Form;
  /** The encoder's family, as transformers calls it. */
  family: string;
  /** Layers of the transformer, and channels of its hidden states. */
  layers: number;
  hiddenSize: number;
  /** What it gives, and the names of it; absent: hidden states alone. */
  task?: Task;
  labels?: readonly string[];
  /** From hidden states to the outputs, one step after another. */
  head?: readonly string[];
  input: { sampleRate: number; normalize: Normalization };
  /** Tensors of other heads, which are not used. */
  ignored: readonly string[];
  /** Numbers that it learned. */
  parameters: number;
  /** Of the files of the encoder's weights. */
  bytes: number;
}

/** A {@link Description}, and what the model takes and does on this machine. */
export interface ModelFacts extends Description {
  timeline?: TimelineMethod;
  device: string;
  /** The most that prediction takes of the device's memory, or encoding where there is no head. */
  memory: PredictionMemory;
  /** Seconds of audio a second, measured now on synthetic audio. */
  speed: number;
}

/**
 * Reads a model, loads it, and measures its speed for a few seconds.
 *
 * @param path a directory or file
 * @throws what reading a checkpoint and loading a model throw
 */
export async function modelFacts(
  path: string,
  { head, ...options }: InferenceOptions & { head?: 'ctc-mean' } = {},
): Promise<ModelFacts> {
  const description = await describe(path, given({ head }));
  if (description.task === undefined) {
    await using encoder = await Encoder.load(path, options);
    const speed = await measureSpeed((samples) => encoder.encode(samples));
    return { ...description, device: encoder.device, memory: await encoder.plan(), speed };
  }
  await using model = await EmotionModel.load(path, { ...options, ...given({ head }), clusters: false });
  const speed = await measureSpeed((samples) => model.predict(samples));
  const { timeline, device } = model;
  return { ...description, timeline, device, memory: await model.plan(), speed };
}

async function describe(path: string, options: ReadingOptions): Promise<Description> {
  const { form, config, normalize, head, ignored, tensors, file, close } = await openCheckpoint(path, options);
  await close();
  const { layers, hiddenSize } = config.shape;
  const classifier = head?.kind === 'classifier' ? head : undefined;
  const weights = [...tensors.values(), ...(head?.tensors ?? [])];
  return {
    form,
    family: String(config.raw.model_type ?? 'hubert'),
    layers,
    hiddenSize,
    ...(classifier !== undefined && {
      task: classifier.task ?? 'classification',
      labels: classifier.labels,
      head: headInWords(classifier, layers),
    }),
    input: { sampleRate: Geometry.sampleRate, normalize },
    ignored,
    parameters: weights.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0),
    bytes: await bytesOf(file),
  };
}

async function bytesOf(file: string): Promise<number> {
  const files = isIndex(file)
    ? [...new Set((await readShardIndex(file)).values())].map((name) => join(dirname(file), name))
    : [file];
  const sizes = await Promise.all(files.map(async (one) => (await statsOf(one)).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

const poolings: Record<PoolingName, string> = {
  mean: 'mean pooling',
  sum: 'sum pooling',
  max: 'max pooling',
  attention: 'attention pooling',
  'attention-linear': 'attention pooling with linear scores',
  stats: 'pooling of weighted mean and standard deviation',
  'attentive-stats': 'attentive statistics pooling',
};

function headInWords(head: Head, layers: number): string[] {
  const { alignment } = head;
  const classifier = classifierOptions(head);
  return [
    ...(classifier === undefined ? [] : pooledHeadInWords(classifier, layers)),
    ...(alignment === undefined
      ? []
      : [
          alignment.source === 'features'
            ? 'alignment network over the feature encoder'
            : `alignment network over layer ${alignment.layer}`,
        ]),
  ];
}

function pooledHeadInWords(head: ClassifierOptions, layers: number): string[] {
  const { source, inputNorm, projector, pooling, dense = [], task, classes, bias } = head;
  const activations = { none: [], tanh: ['tanh'], relu: ['ReLU'] };
  const outputs = task === 'regression' ? `${classes} values` : `${classes} classes`;
  return [
    source === 'layers' ? `learned sum over layers 0 to ${layers}` : 'output of the encoder',
    ...(inputNorm === undefined
      ? []
      : [inputNorm === 'frame' ? 'LayerNorm of each frame' : 'LayerNorm of the utterance']),
    ...(projector === undefined ? [] : [`projector ${projector}`]),
    poolings[pooling],
    ...dense.flatMap(({ width, norm, activation }) => [
      `dense ${width}`,
      ...(norm ? ['LayerNorm'] : []),
      ...activations[activation],
    ]),
    `linear to ${outputs}${bias === false ? ', without bias' : ''}`,
  ];
}

const measuredSeconds = 10;
const leastMilliseconds = 1000;
const mostRuns = 20;

/** Seconds of audio a second: the median of runs after one that warms up. */
async function measureSpeed(work: (samples: Float32Array) => Promise<unknown>): Promise<number> {
  // A voice-like tone that comes and goes, so that nothing is silent throughout.
  const samples = Float32Array.from({ length: measuredSeconds * Geometry.sampleRate }, (_, i) => {
    const time = i / Geometry.sampleRate;
    return 0.3 * Math.sin(2 * Math.PI * 140 * time) * Math.sin(2 * Math.PI * 3 * time) ** 2;
  });
  await work(samples);
  const times: number[] = [];
  let spent = 0;
  while (times.length === 0 || (spent < leastMilliseconds && times.length < mostRuns)) {
    const began = performance.now();
    await work(samples);
    const took = performance.now() - began;
    times.push(took);
    spent += took;
  }
  times.sort((a, b) => a - b);
  return (1000 * measuredSeconds) / times[Math.floor(times.length / 2)]!;
}
