// From an alignment network's frame logits to a timeline. An utterance of an emotion consists of neutral frames and at least one
// island of that emotion (native/ops.h has the model); a recording, which may have several emotions, is a chain of all classes.

/** The model of islands that an alignment network was trained with. */
export interface IslandModel {
  /** Index of the neutral class. */
  readonly neutral: number;
  /** κ: evidence of a frame is κ (z_emotion − z_neutral). Below 1, as neighbouring frames are not independent. */
  readonly scale: number;
  /** Nats: a frame stays in its state with probability σ(switchingCost). */
  readonly switchingCost: number;
}

/** Evidence f32 `[T, classes]` of frame logits for each class against neutral; that of neutral is 0. */
export function evidenceOf(frameLogits: Float32Array, classes: number, { neutral, scale }: IslandModel): Float32Array {
  const evidence = new Float32Array(frameLogits.length);
  for (let row = 0; row + classes <= frameLogits.length; row += classes) {
    for (let c = 0; c < classes; c++) evidence[row + c] = scale * (frameLogits[row + c]! - frameLogits[row + neutral]!);
  }
  return evidence;
}

/**
 * The posterior of every frame: a frame has an emotion if the utterance has it and the frame lies in an island of it.
 *
 * @param probabilities `[classes]` of the utterance; they sum to 1.
 * @param occupancies f32 `[T, classes]`: probability that a frame lies in an island of an emotion if the utterance has it.
 * @returns f32 `[T, classes]`, rows that sum to 1.
 * @example
 * islandPosteriors([0.1, 0.9], Float32Array.of(0, 0.5), 0); // [0.55, 0.45]
 */
export function islandPosteriors(
  probabilities: ArrayLike<number>,
  occupancies: Float32Array,
  neutral: number,
): Float32Array {
  const classes = probabilities.length;
  const posteriors = new Float32Array(occupancies.length);
  for (let row = 0; row + classes <= occupancies.length; row += classes) {
    let rest = 1;
    for (let c = 0; c < classes; c++) {
      if (c === neutral) continue;
      const posterior = probabilities[c]! * occupancies[row + c]!;
      posteriors[row + c] = posterior;
      rest -= posterior;
    }
    posteriors[row + neutral] = Math.max(rest, 0);
  }
  return posteriors;
}
