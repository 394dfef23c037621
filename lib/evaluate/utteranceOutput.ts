import type { ClassifyResult } from '../model/binding.js';
import { utteranceTimeline } from './alignmentTimeline.js';
import { emotionalShare } from './emotionalShare.js';
import { type Calibration, fusedLogits, probabilitiesOf, type UtteranceLogits } from './fusion.js';
import type { IslandModel } from './islands.js';

/** The output of a model's heads for one utterance. */
export interface UtteranceOutput {
  /** The logits of each head. */
  readonly kinds: UtteranceLogits;
  /** f32 `[classes]`: the logits that decide. */
  readonly logits: Float32Array;
  /** f32 `[T, classes]` */
  readonly posteriors: Float32Array;
  /** f32 `[T]`, sums to 1. */
  readonly attention: Float32Array;
  /** i32 `[T]`: the class of each frame from an alignment network; undefined: use the smoothed posteriors. */
  readonly path: Int32Array | undefined;
}

/** The properties of a head that are needed to interpret its output. */
interface HeadProperties {
  readonly labels: readonly string[];
  readonly alignment?: IslandModel;
  readonly calibration?: Calibration;
}

/** The output for utterance `b` of a batch, copied, so that it does not keep the results of the whole batch in memory. */
export function utteranceOutput(result: ClassifyResult, b: number, head: HeadProperties): UtteranceOutput {
  const classes = head.labels.length;
  const [from, to] = [result.offsets[b]!, result.offsets[b + 1]!];
  const ofUtterance = (logits: Float32Array) => logits.subarray(b * classes, (b + 1) * classes);
  const ofFrames = (values: Float32Array) => values.subarray(from * classes, to * classes);
  const { alignment } = result;
  // Without a pooled classifier there are no logits of it.
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
