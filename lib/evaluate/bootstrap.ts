import { EmoframeError } from '../errors.js';
import { PhiloxStream, type Seed } from '../random/philox.js';
import { yieldWhenDue } from '../yield.js';

// Apart from the sites of lib/random/philox.ts.
const bootstrapSite = 0x40000100;

/** How often utterances are drawn; the same seed gives the same interval. */
export interface BootstrapOptions {
  /** 2000 gives the limits to about a tenth of their width. */
  samples: number;
  seed: Seed;
}

/**
 * 95 % percentile intervals of scores, by resampling utterances with replacement.
 *
 * @param count number of utterances.
 * @param scoresOf the scores of the utterances whose indices were drawn; the array is used again for the next sample.
 * @returns `[low, high]` of each score.
 * @throws `ERR_CORPUS` when there is nothing to draw from.
 */
export async function bootstrap(
  count: number,
  { samples, seed }: BootstrapOptions,
  scoresOf: (drawn: Int32Array) => readonly number[],
): Promise<[number, number][]> {
  if (count === 0) throw new EmoframeError('ERR_CORPUS', 'No labelled utterance to score: the test set is empty.');
  const drawn = new Int32Array(count);
  const scores: Float64Array[] = [];
  for (let sample = 0; sample < samples; sample++) {
    await yieldWhenDue();
    const random = new PhiloxStream(seed, sample, bootstrapSite);
    for (let i = 0; i < count; i++) drawn[i] = random.integer(count);
    for (const [index, score] of scoresOf(drawn).entries()) {
      scores[index] ??= new Float64Array(samples);
      scores[index][sample] = score;
    }
  }
  return scores.map((of) => {
    of.sort();
    return [percentile(of, 0.025), percentile(of, 0.975)];
  });
}

/** Linear between neighbours, like numpy's default. */
function percentile(sorted: Float64Array, share: number): number {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low]! + (at - low) * (sorted[high]! - sorted[low]!);
}
