// Timelines from an alignment network: of an utterance, which has one emotion, and of a recording, which may have any number.
import { chainLagSeconds, EmotionChain } from './emotionChain.js';
import { probabilitiesOf } from './fusion.js';
import { evidenceOf, type IslandModel, islandPosteriors } from './islands.js';
import { Smoother } from './viterbi.js';

/** Posteriors f32 `[T, classes]` of some frames. */
export interface FramePosteriors {
  posteriors: Float32Array;
}

/** The timeline of an utterance. */
export interface UtteranceTimeline extends FramePosteriors {
  /** i32 `[T]` */
  path: Int32Array;
}

/**
 * The timeline of an utterance under its decision: every frame is neutral or of the utterance's emotion.
 *
 * @param occupancies f32 `[T, classes]`, as the alignment network gives them.
 * @param probabilities `[classes]` of the utterance; they sum to 1.
 */
export function utteranceTimeline(
  occupancies: Float32Array,
  probabilities: ArrayLike<number>,
  { neutral }: IslandModel,
): UtteranceTimeline {
  const classes = probabilities.length;
  const posteriors = islandPosteriors(probabilities, occupancies, neutral);
  let label = 0;
  for (let c = 1; c < classes; c++) if (probabilities[c]! > probabilities[label]!) label = c;
  const path = new Int32Array(occupancies.length / classes).fill(neutral);
  if (label !== neutral) {
    for (let frame = 0; frame < path.length; frame++)
      if (occupancies[frame * classes + label]! > 0.5) path[frame] = label;
  }
  return { posteriors, path };
}

/** Frames of a recording whose timeline is final, in order. */
export interface DecodedFrames extends FramePosteriors {
  /** The classes of the frames that are final now; they may lag behind the posteriors. */
  path: number[];
}

/**
 * The timeline of a recording that arrives in parts and may have any emotions. The result does not depend on the parts.
 *
 * @example
 * const decoder = new RecordingDecoder(4, islands, 0.02);
 * for await (const { frameLogits } of windows) show(decoder.push(frameLogits));
 * show(decoder.finish());
 */
export class RecordingDecoder {
  readonly #chain: EmotionChain;
  readonly #smoother: Smoother;

  /** @param switchingCost nats that a change of emotion costs in the path */
  constructor(
    private readonly classes: number,
    private readonly islands: IslandModel,
    frameSeconds: number,
    switchingCost: number = islands.switchingCost,
  ) {
    this.#chain = new EmotionChain(classes, islands, Math.round(chainLagSeconds / frameSeconds));
    this.#smoother = new Smoother(classes, switchingCost);
  }

  /** Frame logits f32 `[T, classes]` of the next frames. */
  push(frameLogits: Float32Array): DecodedFrames {
    const evidence = evidenceOf(frameLogits, this.classes, this.islands);
    return { posteriors: this.#chain.push(evidence), path: this.#smoother.push(softmaxed(evidence, this.classes)) };
  }

  /** The remaining frames. */
  finish(): DecodedFrames {
    return { posteriors: this.#chain.finish(), path: this.#smoother.finish() };
  }
}

function softmaxed(rows: Float32Array, classes: number): Float32Array {
  const output = new Float32Array(rows.length);
  for (let row = 0; row + classes <= rows.length; row += classes) {
    output.set(probabilitiesOf(rows.subarray(row, row + classes)), row);
  }
  return output;
}
