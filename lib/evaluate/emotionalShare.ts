// Substitutes for attention where no classifier pools frames.

// If no frame has any emotion, all have the same share.
const smallestMass = 1e-8;

/** f32 `[T]`: the non-neutral part of each frame's posteriors `[T, classes]`. */
export function emotionalMass(posteriors: Float32Array, classes: number, neutral: number): Float32Array {
  return Float32Array.from({ length: posteriors.length / classes }, (_, frame) => {
    let mass = 0;
    for (let c = 0; c < classes; c++) if (c !== neutral) mass += posteriors[frame * classes + c]!;
    return Math.max(mass, smallestMass);
  });
}

/** f32 `[T]`, sums to 1: each frame's share of the non-neutral part of all frames. */
export function emotionalShare(posteriors: Float32Array, classes: number, neutral: number): Float32Array {
  const mass = emotionalMass(posteriors, classes, neutral);
  const total = mass.reduce((sum, value) => sum + value, 0);
  return mass.map((value) => value / total);
}
