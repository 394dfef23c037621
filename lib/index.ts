/** The public interface of emoframe. Deep imports are not part of it. */

export {
  type AudioCacheContents,
  type AudioCacheOptions,
  describeAudioCache,
  trimAudioCache,
} from './audio/cacheFolder.js';
export type { AudioFile, AudioInput, AudioInputOptions } from './audio/input.js';
export { type LoadOptions, loadAudio } from './audio/load.js';
export { type Mfcc, mfcc } from './audio/mfcc.js';
export type { Normalization, WaveformStatistics } from './audio/normalize.js';
export { AudioPool, type AudioPoolOptions } from './audio/pool.js';
export type { AudioRange } from './audio/types.js';
export type { RawFormat } from './audio/wav.js';
export type { SpanMask } from './batch/masks.js';
export { type FrameRange, type PackOptions, packFeatures, packLocally, packSamples } from './batch/pack.js';
export type { Form, ReadingOptions } from './checkpoint/forms/form.js';
export type { Head, HeadLayers } from './checkpoint/head.js';
export { splitTensors } from './checkpoint/names.js';
export { readNpy, writeNpy } from './checkpoint/npy.js';
export { loadPretrained, type Pretrained, savePretrained } from './checkpoint/pretrained.js';
export { readSafetensors, writeSafetensors } from './checkpoint/safetensors.js';
export type { PresetName } from './config/presets.js';
export { parseConfig, readConfig } from './config/read.js';
export type {
  AlignmentNetworkSettings,
  AlignSettings,
  ConcatenationPattern,
  ConcatenationSettings,
  FineTuningSettings,
  HeadLayer,
  HeadSettings,
  KMeansSection,
  MfccSettings,
  OptimizerSettings,
  PretrainSettings,
  RunConfig,
  RunConfigInput,
  TaptSettings,
} from './config/types.js';
export { type CorpusSource, type ReadCorporaOptions, readCorpora } from './corpus/combine.js';
export { type CorpusDescription, type DescribeOptions, describeCorpus, type ValueSummary } from './corpus/describe.js';
export { emotionNames, emotionOf } from './corpus/emotions.js';
export { readFolds } from './corpus/foldFile.js';
export { type Fold, type FoldOptions, makeFolds } from './corpus/folds.js';
export { type ReadCorpusOptions, readCorpus } from './corpus/read.js';
export type { Corpus, CustomaryFolds, GivenFold, Problem, Segment, Utterance, Values } from './corpus/types.js';
export { type AudioCheck, checkAudio, type UnreadableUtterance } from './corpus/unreadable.js';
export { EmoframeError, type EmoframeErrorCode, type ErrorContext } from './errors.js';
export type { BootstrapOptions } from './evaluate/bootstrap.js';
export { cccIntervals, type ValueMetrics, valueMetrics } from './evaluate/concordance.js';
export { type DiarizationErrors, diarizationErrors } from './evaluate/eder.js';
export { type FrameMetrics, type FrameRow, frameMetrics, frameTruth } from './evaluate/frames.js';
export type { Calibration } from './evaluate/fusion.js';
export { bootstrapInterval, type ScoreName, type UtteranceMetrics, utteranceMetrics } from './evaluate/metrics.js';
export { type FrameTimes, type TimelineSegment, toSegments } from './evaluate/segments.js';
export { smooth } from './evaluate/viterbi.js';
export {
  type Architecture,
  type ExportedModel,
  type ExportOptions,
  type ExportProgress,
  exportModel,
} from './export/exportModel.js';
export { type DownloadOptions, type DownloadProgress, downloadModel } from './hub/download.js';
export type { HubOptions } from './hub/settings.js';
export {
  type AlignmentField,
  type AlignmentSettings,
  alignmentField,
  alignmentOptions,
  type SoundStatistics,
} from './model/alignment.js';
export type {
  AlignmentOptions,
  AlignOptions,
  AlignResult,
  AssignResult,
  ClassifierOptions,
  ClassifyResult,
  DenseLayer,
  EncodeResult,
  FrameRanges,
  GraphUse,
  HubertShape,
  KMeansResult,
  MemoryPlan,
  MemoryUse,
  NativeDescription,
  OptimizerOptions,
  PackedBatch,
  ParameterGroup,
  PlannedWork,
  PoolingName,
  Precision,
  TensorInfo,
  TrainStepOptions,
  TrainStepResult,
  WindowMoments,
} from './model/binding.js';
export { Engine, type EngineSettings, type KMeansSettings, type RunControl } from './model/engine.js';
export { Geometry } from './model/geometry.js';
export { type HubertConfig, parseHubertConfig } from './model/hubertConfig.js';
export { type ImportOptions, Model, type ModelSpec } from './model/model.js';
export type { StoredMoments, StoredTensor, Tensor } from './model/tensor.js';
export type { ProgressEvent, RunWarning, StageCallOptions, StageName, TrainerOptions } from './pipeline/options.js';
export { type ClusterSweep, type SweepResult, Trainer } from './pipeline/trainer.js';
export { EmotionModel } from './predict/emotionModel.js';
export { type EncodeOptions, Encoder, type HiddenStates } from './predict/encoder.js';
export type { TimelineMethod } from './predict/inference.js';
export type {
  AudioCallOptions,
  AudioProgress,
  DeviceOptions,
  EmotionModelOptions,
  HubModelOptions,
  InferenceOptions,
  Level,
  PredictionSizes,
  PredictManyOptions,
  PredictOptions,
  StreamOptions,
  WindowOptions,
} from './predict/options.js';
export type { PredictionMemory } from './predict/passMemory.js';
export type {
  ColumnsBase,
  Decision,
  EmotionColumns,
  EmotionDecision,
  EmotionOfFrame,
  FrameBase,
  FrameColumns,
  OutputOfFrame,
  PredictedFrame,
  Prediction,
  PredictionBase,
  PredictionFailure,
  StreamedFrame,
  Task,
  TimelineChunk,
  ValuesColumns,
  ValuesDecision,
  ValuesOfFrame,
} from './predict/prediction.js';
export type { AudioInputs, NamedAudio } from './predict/predictMany.js';
export type { WindowsUsed } from './predict/windows.js';
export type { Seed } from './random/philox.js';
export { type ReportOptions, writeReport } from './report/report.js';
export type { FoldSummary, Intervals, PooledScores, PredictionRow, RunSummary, Scores } from './run/scores.js';
export type { PooledValueScores, RegressionSummary, ValueFoldSummary, ValueScores } from './run/valueScores.js';
export {
  type ClassEvaluation,
  type EvaluateModelOptions,
  type EvaluationBase,
  evaluateModel,
  type ModelEvaluation,
  type ValueEvaluation,
} from './score/evaluateModel.js';
export type { LabelMap } from './score/labelMap.js';
export type { SweepRow } from './stages/cluster.js';
