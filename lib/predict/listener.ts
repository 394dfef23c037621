// The models that hear, and what comes of one window or one batch.
import type { Head } from '../checkpoint/pretrained.js';
import type { ClassifyResult } from '../model/binding.js';
import type { Geometry } from '../model/geometry.js';
import type { Clusterer } from './clusterer.js';
import type { HeardWindow } from './heardWindows.js';
import type { LoadedModel } from './loadModel.js';
import { batchOf } from './wholeAudio.js';

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
    const classes = this.head.labels.length;
    return utterances.map((_, b) => {
      const [from, to] = [result.offsets[b]!, result.offsets[b + 1]!];
      return {
        logits: result.logits.subarray(b * classes, (b + 1) * classes),
        // Memory of its own: one utterance's results do not keep those of its whole batch.
        posteriors: result.framePosteriors.slice(from * classes, to * classes),
        attention: result.attention.slice(from, to),
        clusters: clusters?.slice(from, to),
      };
    });
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
}
