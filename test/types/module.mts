// A TypeScript user's ES module: it is compiled against the installed package (test/slow/install.js), not run. A line that
// must be refused stands under `@ts-expect-error`, which is itself an error where the line is not refused.
import {
  type Corpus,
  EmoframeError,
  type EmoframeErrorCode,
  EmotionModel,
  Encoder,
  Engine,
  type Fold,
  loadPretrained,
  makeFolds,
  type NativeDescription,
  type PackedBatch,
  type Prediction,
  type PredictionFailure,
  type ProgressEvent,
  packSamples,
  parseConfig,
  type RegressionSummary,
  type RunConfig,
  type RunConfigInput,
  type RunSummary,
  readCorpus,
  type TimelineChunk,
  Trainer,
  toSegments,
} from 'emoframe';

export async function predict(files: string[], signal: AbortSignal): Promise<string[]> {
  await using model = await EmotionModel.load('predictor', {
    task: 'classification',
    device: 'cpu',
    precision: 'bf16',
    threads: 2,
  });
  const prediction: Prediction<'classification'> = await model.predict(new Float32Array(16000), {
    id: 'a',
    switchingCost: 3,
    signal,
  });
  const { label, probabilities, frames, segments } = prediction;
  const share: number | undefined = probabilities[label];
  const posterior: readonly number[] = frames[0]!.posterior;
  const cluster: number | undefined = frames[0]!.cluster;
  const lines = [`${share} ${posterior.length} ${cluster} ${segments[0]?.start.toFixed(2)}`];
  for await (const { id, seconds } of model.predictMany(files)) lines.push(id, seconds.toFixed(1));

  // @ts-expect-error a label is a string
  const wrong: number = label;
  // @ts-expect-error frames are a list
  frames.label;
  // @ts-expect-error a prediction is not to be changed
  frames[0]!.attention = 0;
  await EmotionModel.load('predictor', { device: 'cuda:0', precision: 'tf32' });
  // @ts-expect-error no such precision
  await EmotionModel.load('predictor', { precision: 'fp16' });
  // @ts-expect-error no such option
  await model.predict('a.wav', { smoothing: 3 });
  // @ts-expect-error a list is for predictMany
  await model.predict(files);
  // @ts-expect-error the constructor is private
  new EmotionModel();
  return [...lines, String(wrong)];
}

/** Whatever the model gives. */
export async function either(file: string): Promise<string[]> {
  const model = await EmotionModel.load('owner/name', {
    revision: 'main',
    onDownload: ({ doneBytes }) => doneBytes + 1,
  });
  const prediction: Prediction = await model.predict(file);
  // @ts-expect-error a model of values has no label: which it is must be asked first
  prediction.label.length;
  if (prediction.values === undefined) return [prediction.label, String(prediction.frames[0]?.posterior[0])];
  const arousal: number | undefined = prediction.values.arousal;
  const column: Float32Array = prediction.columns.values;
  if (model.task === 'classification') {
    const { label }: Prediction<'classification'> = await model.predict(file);
    for await (const { probabilities } of model.predictMany([file])) console.log(probabilities[label]);
    for await (const { frames, soFar } of model.stream(file)) console.log(frames[0]?.posterior, soFar.label.length);
    return [label];
  }
  for await (const { values, frames } of model.predictMany([file])) console.log(values.arousal, frames[0]?.values[0]);
  const dimensions: EmotionModel<'regression'> = await EmotionModel.load('dimensions', { task: 'regression' });
  for await (const { soFar } of dimensions.stream(file)) console.log(soFar.values.arousal);
  // @ts-expect-error no such task
  await EmotionModel.load('predictor', { task: 'both' });
  // @ts-expect-error values have no label
  (await dimensions.predict(file)).label.length;
  return [`${arousal} ${column.length} ${model.timeline === 'windows'}`];
}

export async function listen(audio: AsyncIterable<Uint8Array>): Promise<string> {
  await using model = await EmotionModel.load('predictor', { task: 'classification' });
  for await (const result of model.predictMany([audio], { onError: 'yield' })) {
    const either: Prediction<'classification'> | PredictionFailure = result;
    // @ts-expect-error a failure has no label: which it is must be asked first
    either.label;
    if ('error' in either) return either.error.code;
  }
  for await (const chunk of model.stream(audio, { windowSeconds: 6, overlapSeconds: 1 })) {
    const { soFar, last }: TimelineChunk<'classification'> = chunk;
    if (last) return soFar.label;
  }
  return '';
}

export async function encode(): Promise<Float32Array> {
  await using encoder = await Encoder.load('hubert');
  const { hidden, frames, dimension } = await encoder.encode('a.wav', { layer: 9 });
  const size: number = frames * dimension;
  // @ts-expect-error a layer is a number
  await encoder.encode('a.wav', { layer: 'last' });
  return hidden.subarray(0, size);
}

export function engine(): string {
  const made = Engine.create({ device: 'cpu', threads: 1 });
  const device: string = made.device;
  made.dispose();
  // @ts-expect-error threads is a number
  Engine.create({ threads: '1' });
  return device;
}

export async function hiddenStates(engine: Engine, samples: Float32Array): Promise<Float32Array> {
  const { config, tensors, normalize } = await loadPretrained('hubert');
  const model = await engine.createModel({ config, precision: 'fp32' });
  await model.importTensors(tensors.values());
  const batch: PackedBatch = packSamples([samples], model.geometry.stride, { normalize });
  // @ts-expect-error a layer is a number, or the model's output
  await model.encode(batch, 'last');
  return (await model.encode(batch, 'output')).hidden;
}

export async function run(input: RunConfigInput): Promise<Fold[]> {
  const corpus: Corpus = await readCorpus('corpus.jsonl');
  const speaker: string | undefined = corpus.utterances[0]?.speaker;
  const config: RunConfig = parseConfig(input, 'demo');
  const clusters: number = config.cluster.kmeans.clusters;
  await using trainer = await Trainer.open({ corpus, out: 'runs/a', config, resume: true });
  const summary: RunSummary | RegressionSummary = await trainer.run({
    folds: trainer.folds.map(({ name }) => name),
    onProgress: ({ stage, done, total }: ProgressEvent) => console.log(stage, done / total, speaker, clusters),
  });
  await trainer.tapt();
  const [first] = await trainer.sweep({ layers: [6, 9], clusters: [50] });
  const rows: readonly object[] | undefined = first?.rows;
  console.log('ua' in summary ? summary.ua : summary.values.arousal?.ccc, rows?.length);
  // @ts-expect-error a sweep needs layers
  await trainer.sweep({ clusters: [50] });
  // @ts-expect-error `out` is missing
  await Trainer.open({ corpus, config });
  // @ts-expect-error no such preset
  parseConfig({}, 'fast');
  const unknown: RunConfigInput = {
    // @ts-expect-error no such field
    clusterz: {},
  };
  return makeFolds(corpus, { ...parseConfig(unknown).folds, seed: 1 });
}

export function describe(error: unknown, native: NativeDescription): string {
  if (!(error instanceof EmoframeError)) return native.cpu.library;
  const row: number | undefined = error.row;
  // @ts-expect-error a code is never written
  error.code = 'ERR_AUDIO';
  // @ts-expect-error no such code
  if (error.code === 'ERR_OTHER') return '';
  // @ts-expect-error no such code
  new EmoframeError('ERR_OTHER', 'A code that is not documented.');
  const code: EmoframeErrorCode = error.code;
  const remedies: Partial<Record<EmoframeErrorCode, string>> = { ERR_OUT_OF_MEMORY: 'a smaller window' };
  return `${remedies[code]} ${error.file ?? ''} ${row ?? ''}`;
}

// @ts-expect-error not part of the public interface
export { binding } from 'emoframe';
// @ts-expect-error modules of the package are not public
export * from 'emoframe/dist/model/binding.js';

// @ts-expect-error segments are made from a path, a number a frame
toSegments('neutral');
