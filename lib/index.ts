/** The public interface of emoframe. Deep imports are not part of it. */

export type { RawFormat } from './audio/byteStream.js';
export type { AudioInput, AudioInputOptions } from './audio/input.js';
export { loadAudio } from './audio/load.js';
export { mfcc } from './audio/mfcc.js';
export { AudioPool } from './audio/pool.js';
export { readNpy, writeNpy } from './checkpoint/npy.js';
export { loadPretrained, savePretrained } from './checkpoint/pretrained.js';
export { readSafetensors, writeSafetensors } from './checkpoint/safetensors.js';
export { parseConfig, readConfig } from './config/read.js';
export type { RunConfig, RunConfigInput } from './config/schema.js';
export { describeCorpus } from './corpus/describe.js';
export { type Fold, makeFolds } from './corpus/folds.js';
export { readCorpus } from './corpus/read.js';
export type { Corpus, Problem, Segment, Utterance } from './corpus/types.js';
export { EmoframeError } from './errors.js';
export { frameMetrics, frameTruth } from './evaluate/frames.js';
export { bootstrapInterval, utteranceMetrics } from './evaluate/metrics.js';
export { type FrameTimes, type TimelineSegment, toSegments } from './evaluate/segments.js';
export { smooth } from './evaluate/viterbi.js';
export type { NativeDescription, PackedBatch, PoolingName } from './model/binding.js';
export { Engine, type EngineSettings, type KMeansSettings } from './model/engine.js';
export { Geometry } from './model/geometry.js';
export { type HubertConfig, parseHubertConfig } from './model/hubertConfig.js';
export { Model, type ModelSpec } from './model/model.js';
export type { Tensor } from './model/tensor.js';
export type { ProgressEvent, RunOptions, RunWarning, StageName } from './pipeline/options.js';
export { runClusterSweep } from './pipeline/runClusterSweep.js';
export { runPipeline } from './pipeline/runPipeline.js';
export { runStage } from './pipeline/runStage.js';
export {
  EmotionModel,
  type EmotionModelOptions,
  type NamedAudio,
  type PredictManyOptions,
  type PredictOptions,
  type StreamOptions,
} from './predict/emotionModel.js';
export { type EncodeOptions, Encoder, type HiddenStates } from './predict/encoder.js';
export type { AudioCallOptions, AudioProgress, DeviceOptions, Precision } from './predict/options.js';
export type {
  Decision,
  PredictedFrame,
  Prediction,
  PredictionFailure,
  StreamedFrame,
  TimelineChunk,
} from './predict/prediction.js';
export type { WindowOptions, WindowsUsed } from './predict/windows.js';
export { writeReport } from './report/report.js';
