// Points to cluster: as many as it takes to matter, so made quickly.
import { PhiloxStream } from '../../dist/random/philox.js';

const components = 300;
// Standard deviation of the components' centres where points have 1 about theirs. In hundreds of dimensions that is near enough
// for components to overlap, so that clusters go on changing for many iterations.
const spread = 0.08;
// Apart from the streams of the package and of the other inputs.
const site = 0x60000002;

/** f32 `[count, dimension]` of a mixture of Gaussians, a pure function of its arguments. */
export function gaussianMixture(count, dimension, seed) {
  const random = new PhiloxStream(seed, 0, site);
  // Box–Muller. Noise is taken from a table of normal values, at places that a quicker generator (xorshift) draws.
  const normal = () => Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform());
  const table = Float32Array.from({ length: 1 << 16 }, normal);
  const centres = Float32Array.from({ length: components * dimension }, () => spread * normal());
  let state = 1 + random.integer(0x7fffffff);
  const draw = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const points = new Float32Array(count * dimension);
  for (let row = 0; row < count; row++) {
    const centre = (draw() % components) * dimension;
    for (let column = 0; column < dimension; column++)
      points[row * dimension + column] = centres[centre + column] + table[draw() >>> 16];
  }
  return points;
}
