import type { ClassifyResult } from '../model/binding.js';
import { utteranceTimeline } from './alignmentTimeline.js';
import { emotionalShare } from './emotionalShare.js';
import { type Calibration, fusedLogits, probabilitiesOf, type UtteranceLogits } from './fusion.js';
import type { IslandModel } from './islands.js';

/** What the heads of a model say of one utterance. */
export interface Said {
  /** Of each head that there is. */
  readonly kinds: UtteranceLogits;
  /** f32 `[classes]`: those that decide. */
  readonly logits: Float32Array;
  /** f32 `[T, classes]` */
  readonly posteriors: Float32Array;
  /** f32 `[T]`, sums to 1. */
  readonly attention: Float32Array;
  /** i32 `[T]`: the class of each frame by an alignment network; undefined: it is that of the smoothed posteriors. */
  readonly path: Int32Array | undefined;
}

/** What of a head decides how it is understood. */
interface SpeakingHead {
  readonly labels: readonly string[];
  readonly alignment?: IslandModel;
  readonly calibration?: Calibration;
}

/** Of utterance `b` of a batch, in memory of its own: one utterance's results do not keep those of its whole batch. */
export function saidOf(result: ClassifyResult, b: number, head: SpeakingHead): Said {
  const classes = head.labels.length;
  const [from, to] = [result.offsets[b]!, result.offsets[b + 1]!];
  const ofUtterance = (logits: Float32Array) => logits.subarray(b * classes, (b + 1) * classes);
  const ofFrames = (values: Float32Array) => values.subarray(from * classes, to * classes);
  const { alignment } = result;
  // Where no pooled classifier was asked there are no logits of it.
  const pools = result.logits.length > 0;
  const kinds = {
    ...(pools && { classifier: ofUtterance(result.logits) }),
    ...(alignment !== undefined && { alignment: ofUtterance(alignment.logits) }),
  };
  const logits = fusedLogits(kinds, head.calibration);
  const attention = result.attention.slice(from, to);
  if (alignment === undefined || head.alignment === undefined)
    return { kinds, logits, posteriors: ofFrames(result.framePosteriors).slice(), attention, path: undefined };
  const { posteriors, path } = utteranceTimeline(
    ofFrames(alignment.occupancies),
    probabilitiesOf(logits),
    head.alignment,
  );
  return {
    kinds,
    logits,
    posteriors,
    attention: pools ? attention : emotionalShare(posteriors, classes, head.alignment.neutral),
    path,
  };
}
