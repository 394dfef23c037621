// The models that hear, and what comes of one window or one batch.
import { type Head, poolingOf } from '../checkpoint/head.js';
import { utteranceTimeline } from '../evaluate/alignmentTimeline.js';
import { emotionalShare } from '../evaluate/emotionalShare.js';
import { fusedLogits, probabilitiesOf } from '../evaluate/fusion.js';
import { alignmentField } from '../model/alignment.js';
import type { ClassifyResult } from '../model/binding.js';
import type { Geometry } from '../model/geometry.js';
import type { Clusterer } from './clusterer.js';
import type { HeardWindow } from './heardWindows.js';
import type { LoadedModel } from './loadModel.js';
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

  /** Those that windows must be made for. */
  get models(): readonly LoadedModel[] {
    return this.clusterer === undefined ? [this.classifier] : [this.classifier, this.clusterer.loaded];
  }

  /** Whole utterances, 16 kHz mono, in one pass. */
  async hear(utterances: readonly { samples: Float32Array; name: string }[]): Promise<Heard[]> {
    const { model, memory } = this.classifier;
    const batch = batchOf(utterances, this.classifier);
    const [result, clusters] = await Promise.all([
      memory.run(batch, false, () => model.classify(batch)),
      this.clusterer?.clustersOf(batchOf(utterances, this.clusterer.loaded)),
    ]);
    return utterances.map((_, b) => ({
      ...this.#utterance(result, b),
      clusters: clusters?.slice(result.offsets[b]!, result.offsets[b + 1]!),
    }));
  }

  /** The frames of a window that are kept. */
  async hearWindow(window: HeardWindow): Promise<{ result: ClassifyResult; clusters: Int32Array | undefined }> {
    const [first, count] = [window.keepStart - window.start, window.keepEnd - window.keepStart];
    const kept = { starts: Int32Array.of(first), counts: Int32Array.of(count) };
    const { model, memory } = this.classifier;
    const batch = window.batch(this.classifier);
    const [result, clusters] = await Promise.all([
      memory.run(batch, true, () => model.classify(batch, kept)),
      this.clusterer?.clustersOf(window.batch(this.clusterer.loaded)),
    ]);
    return { result, clusters: clusters?.subarray(first, first + count) };
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
