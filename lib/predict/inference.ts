// The models, and what comes of one window or one batch that goes through them.

import { type WaveformStatistics, waveformStatistics } from '../audio/normalize.js';
import { packLocally } from '../batch/pack.js';
import { classifierOptions, type Head, poolingOf } from '../checkpoint/head.js';
import { utteranceOutput } from '../evaluate/utteranceOutput.js';
import { given } from '../given.js';
import { alignmentField } from '../model/alignment.js';
import { askHeads } from '../model/askHeads.js';
import type { ClassifierOptions, ClassifyResult, FrameRanges, PackedBatch } from '../model/binding.js';
import type { Geometry } from '../model/geometry.js';
import type { Clusterer } from './clusterer.js';
import type { LoadedModel } from './loadModel.js';
import { batchOf } from './modelInput.js';
import type { Level, WindowOptions } from './options.js';
import type { Task } from './prediction.js';
import { Turns } from './turns.js';
import { type AudioWindow, type WindowGrid, WindowPlan } from './windows.js';

// The default of `evaluate.switchingCost` in lib/config.
const defaultSwitchingCost = 4;

/**
 * What frames' outputs and the segments follow from. `alignment`: a network whose context is a frame's neighbourhood alone, and where
 * it finds an emotion. The others are the pooled head: applied to the frame alone, which is exact where frames are pooled by their mean
 * (`frames`) and as published where they are weighted (`attention`); or, where it is not linear from pooling on, applied to the second
 * around every tenth of a second (`windows`).
 */
export type TimelineMethod = 'alignment' | 'attention' | 'frames' | 'windows';

/** What the models give of some frames of one utterance. */
export interface Inferred {
  /** f32 [classes]: logits, or values of a regression. */
  readonly logits: Float32Array;
  /** f32 [T, classes]: posteriors, or values of a regression. */
  readonly posteriors: Float32Array;
  /** f32 [T], sums to 1. */
  readonly attention: Float32Array;
  /** i32 [T] */
  readonly clusters: Int32Array | undefined;
  /** i32 [T]: the class of each frame; undefined where it is the smoothed posteriors'. */
  readonly path: Int32Array | undefined;
}

/** What is said of a batch besides its sound. */
interface Asked {
  names?: readonly string[];
  /** Frames; absent: all. */
  kept?: FrameRanges;
  waveforms?: readonly WaveformStatistics[];
}

/** Where windows of a pooled head must lie, for the frames of any to be those of one pass. */
function classifierGrid({ frames }: ClassifierOptions): WindowGrid | undefined {
  if (frames === undefined) return undefined;
  // A frame has the outputs of the nearest window, and that reaches half a window further.
  return { chunk: frames.hop, overlap: Math.ceil(frames.window / 2) + Math.floor(frames.hop / 2) };
}

/** The classifier, and the clusterer where there is one. */
export class Inference {
  /** On the engine that both are on. */
  readonly turns = new Turns();

  constructor(
    private readonly classifier: LoadedModel & { head: Head },
    private readonly clusterer: Clusterer | undefined,
  ) {}

  get head(): Head {
    return this.classifier.head;
  }

  get task(): Task {
    return this.head.task ?? 'classification';
  }

  get timeline(): TimelineMethod {
    if (this.head.alignment !== undefined) return 'alignment';
    const { frames, pooling } = classifierOptions(this.head)!;
    if (frames !== undefined) return 'windows';
    return pooling === 'mean' ? 'frames' : 'attention';
  }

  get geometry(): Geometry {
    return this.classifier.model.geometry;
  }

  /** Windows in which frames come out as in one pass. @throws `ERR_ARGUMENT` */
  windows(options: WindowOptions): WindowPlan {
    const { alignment } = this.head;
    const { frameSeconds } = this.geometry;
    if (alignment !== undefined) return new WindowPlan(this.geometry, options, alignmentField(alignment, frameSeconds));
    return new WindowPlan(this.geometry, options, classifierGrid(classifierOptions(this.head)!));
  }

  get models(): readonly LoadedModel[] {
    return this.clusterer === undefined ? [this.classifier] : [this.classifier, this.clusterer.loaded];
  }

  /** Those whose windows are normalised by statistics of the whole audio. */
  get normalizing(): readonly LoadedModel[] {
    const { alignment } = this.head;
    return alignment?.statistics !== undefined && poolingOf(this.head) === undefined
      ? this.models.slice(1)
      : this.models;
  }

  /** Nats that a change of emotion must gain: as asked for, as the model was evaluated, or the default. */
  switchingCost({ switchingCost }: { switchingCost?: number }): number {
    const { alignment, info } = this.head;
    const evaluated = alignment?.switchingCost ?? info?.switchingCost;
    return switchingCost ?? (typeof evaluated === 'number' && evaluated >= 0 ? evaluated : defaultSwitchingCost);
  }

  /** Of whole utterances, 16 kHz mono, in one pass. */
  async infer(
    utterances: readonly { samples: Float32Array; name: string }[],
    level: Level | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Inferred[]> {
    const sound = utterances.map(({ samples }) => samples);
    const names = utterances.map(({ name }) => name);
    const waveforms = await this.waveformsOf(sound, level);
    const batch = (loaded: LoadedModel) => batchOf(utterances, loaded);
    const [result, clusters] = await this.#ask(batch, sound, { names, ...given({ waveforms }) }, signal);
    return utterances.map((_, b) => ({
      ...utteranceOutput(result, b, this.head),
      clusters: clusters?.slice(result.offsets[b]!, result.offsets[b + 1]!),
    }));
  }

  /** What brings each sound, as a whole, to the level of the alignment network's training; undefined: as it is. */
  async waveformsOf(
    sounds: readonly Float32Array[],
    level: Level = 'as-is',
  ): Promise<WaveformStatistics[] | undefined> {
    if (level === 'as-is' || this.head.alignment?.statistics === undefined) return undefined;
    return Promise.all(sounds.map((samples) => waveformStatistics(samples)));
  }

  /** Of the frames of a window that are kept. `waveform`: as {@link waveformsOf} has it of the whole. */
  async inferWindow(
    window: AudioWindow,
    waveform: WaveformStatistics | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ result: ClassifyResult; clusters: Int32Array | undefined }> {
    const [first, count] = [window.keepStart - window.start, window.keepEnd - window.keepStart];
    const kept = { starts: Int32Array.of(first), counts: Int32Array.of(count) };
    const asked = { kept, ...(waveform !== undefined && { waveforms: [waveform] }) };
    const [result, clusters] = await this.#ask((loaded) => window.batch(loaded), [window.sound], asked, signal);
    return { result, clusters: clusters?.subarray(first, first + count) };
  }

  /** Classes and clusters of one batch, which is made for each of the models when its turn comes. */
  #ask(
    batch: (loaded: LoadedModel) => PackedBatch,
    sound: readonly Float32Array[],
    asked: Asked,
    signal: AbortSignal | undefined,
  ): Promise<[ClassifyResult, Int32Array | undefined]> {
    return this.turns.take(
      () =>
        Promise.all([
          this.#classify(() => batch(this.classifier), sound, asked),
          this.clusterer?.clustersOf(batch(this.clusterer.loaded)),
        ]),
      signal,
    );
  }

  /**
   * What the heads say of utterances, or of the frames of them that are kept. An alignment network with statistics of its own
   * takes `sound` normalised by these, and the classifier `batch` as ever.
   */
  async #classify(
    batch: () => PackedBatch,
    sound: readonly Float32Array[],
    { names, kept, waveforms }: Asked,
  ): Promise<ClassifyResult> {
    const { model, memory } = this.classifier;
    const statistics = this.head.alignment?.statistics;
    return askHeads(
      (given, head) => memory.run(given, kept !== undefined, () => model.classify(given, kept, head)),
      poolingOf(this.head) !== undefined,
      batch,
      statistics && packLocally(sound, this.geometry.stride, statistics, names, waveforms),
    );
  }
}
