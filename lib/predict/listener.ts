// The models that hear, and what comes of one window or one batch.
import { type WaveformStatistics, waveformStatistics } from '../audio/normalize.js';
import { packLocally } from '../batch/pack.js';
import { type Head, poolingOf } from '../checkpoint/head.js';
import { utteranceTimeline } from '../evaluate/alignmentTimeline.js';
import { emotionalShare } from '../evaluate/emotionalShare.js';
import { fusedLogits, probabilitiesOf } from '../evaluate/fusion.js';
import { alignmentField } from '../model/alignment.js';
import type { ClassifyResult, FrameRanges, PackedBatch } from '../model/binding.js';
import type { Geometry } from '../model/geometry.js';
import type { Clusterer } from './clusterer.js';
import type { HeardWindow } from './heardWindows.js';
import type { LoadedModel } from './loadModel.js';
import type { Level } from './options.js';
import { batchOf } from './wholeAudio.js';
import { type WindowOptions, WindowPlan } from './windows.js';

/** What was heard in some frames of one utterance. */
export interface Heard {
  /** f32 [classes] */
  readonly logits: Float32Array;
  /** f32 [T, classes] */
  readonly posteriors: Float32Array;
  /** f32 [T], sums to 1. */
  readonly attention: Float32Array;
  /** i32 [T] */
  readonly clusters: Int32Array | undefined;
  /** i32 [T]: the class of each frame; undefined where it is the smoothed posteriors'. */
  readonly path: Int32Array | undefined;
}

/** The classifier, and the clusterer where there is one. */
export class Listener {
  constructor(
    private readonly classifier: LoadedModel & { head: Head },
    private readonly clusterer: Clusterer | undefined,
  ) {}

  get head(): Head {
    return this.classifier.head;
  }

  get geometry(): Geometry {
    return this.classifier.model.geometry;
  }

  /** Windows in which frames are heard as in the whole. @throws `ERR_ARGUMENT` */
  windows(options: WindowOptions): WindowPlan {
    const { alignment } = this.head;
    return new WindowPlan(this.geometry, options, alignment && alignmentField(alignment, this.geometry.frameSeconds));
  }

  get models(): readonly LoadedModel[] {
    return this.clusterer === undefined ? [this.classifier] : [this.classifier, this.clusterer.loaded];
  }

  /** Those that hear a window as their statistics of the whole audio bring it to them. */
  get normalizing(): readonly LoadedModel[] {
    const { alignment } = this.head;
    return alignment?.statistics !== undefined && poolingOf(this.head) === undefined
      ? this.models.slice(1)
      : this.models;
  }

  /** Whole utterances, 16 kHz mono, in one pass. */
  async hear(utterances: readonly { samples: Float32Array; name: string }[], level?: Level): Promise<Heard[]> {
    const sound = utterances.map(({ samples }) => samples);
    const names = utterances.map(({ name }) => name);
    const waveforms = this.waveformsOf(sound, level);
    const [result, clusters] = await Promise.all([
      this.#classify(() => batchOf(utterances, this.classifier), sound, {
        names,
        ...(waveforms !== undefined && { waveforms }),
      }),
      this.clusterer?.clustersOf(batchOf(utterances, this.clusterer.loaded)),
    ]);
    return utterances.map((_, b) => ({
      ...this.#utterance(result, b),
      clusters: clusters?.slice(result.offsets[b]!, result.offsets[b + 1]!),
    }));
  }

  /** What brings each sound, as a whole, to the level that its alignment network is to hear; undefined: as it is. */
  waveformsOf(sounds: readonly Float32Array[], level: Level = 'as-is'): WaveformStatistics[] | undefined {
    if (level === 'as-is' || this.head.alignment?.statistics === undefined) return undefined;
    return sounds.map(waveformStatistics);
  }

  /** The frames of a window that are kept. `waveform`: as {@link waveformsOf} has it of the whole. */
  async hearWindow(
    window: HeardWindow,
    waveform: WaveformStatistics | undefined,
  ): Promise<{ result: ClassifyResult; clusters: Int32Array | undefined }> {
    const [first, count] = [window.keepStart - window.start, window.keepEnd - window.keepStart];
    const kept = { starts: Int32Array.of(first), counts: Int32Array.of(count) };
    const [result, clusters] = await Promise.all([
      this.#classify(() => window.batch(this.classifier), [window.sound], {
        kept,
        ...(waveform !== undefined && { waveforms: [waveform] }),
      }),
      this.clusterer?.clustersOf(window.batch(this.clusterer.loaded)),
    ]);
    return { result, clusters: clusters?.subarray(first, first + count) };
  }

  /**
   * What the heads say of utterances, or of the frames of them that are kept. An alignment network with statistics of its own
   * hears `sound` by these, and the classifier `batch` as ever.
   */
  async #classify(
    batch: () => PackedBatch,
    sound: readonly Float32Array[],
    {
      names,
      kept,
      waveforms,
    }: { names?: readonly string[]; kept?: FrameRanges; waveforms?: readonly WaveformStatistics[] },
  ): Promise<ClassifyResult> {
    const { model, memory } = this.classifier;
    const pass = (given: PackedBatch, head?: 'classifier' | 'alignment') =>
      memory.run(given, kept !== undefined, () => model.classify(given, kept, head));
    const statistics = this.head.alignment?.statistics;
    if (statistics === undefined) return pass(batch());
    const own = packLocally(sound, this.geometry.stride, statistics, names, waveforms);
    if (poolingOf(this.head) === undefined) return pass(own, 'alignment');
    const pooled = await pass(batch(), 'classifier');
    const { alignment } = await pass(own, 'alignment');
    return { ...pooled, ...(alignment !== undefined && { alignment }) };
  }

  /** Memory of its own: one utterance's results do not keep those of its whole batch. */
  #utterance(result: ClassifyResult, b: number): Omit<Heard, 'clusters'> {
    const { head } = this;
    const classes = head.labels.length;
    const [from, to] = [result.offsets[b]!, result.offsets[b + 1]!];
    const ofUtterance = (logits: Float32Array) => logits.subarray(b * classes, (b + 1) * classes);
    const ofFrames = (values: Float32Array) => values.subarray(from * classes, to * classes);
    const { alignment } = result;
    const pools = poolingOf(head) !== undefined;
    const logits = fusedLogits(
      {
        ...(pools && { classifier: ofUtterance(result.logits) }),
        ...(alignment !== undefined && { alignment: ofUtterance(alignment.logits) }),
      },
      head.calibration,
    );
    const attention = result.attention.slice(from, to);
    if (alignment === undefined || head.alignment === undefined)
      return { logits, posteriors: ofFrames(result.framePosteriors).slice(), attention, path: undefined };
    const { posteriors, path } = utteranceTimeline(
      ofFrames(alignment.occupancies),
      probabilitiesOf(logits),
      head.alignment,
    );
    return {
      logits,
      posteriors,
      attention: pools ? attention : emotionalShare(posteriors, classes, head.alignment.neutral),
      path,
    };
  }
}
