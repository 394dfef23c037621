// Ratings of dimensions such as arousal, under one set of names and on one scale, so that corpora and models can be compared.
import { own } from '../own.js';
import type { Utterance, Values } from './types.js';

/**
 * Mean ratings from 1 to `highest` as values from 0 to 1; those that are no numbers, where too few rated, are left out. A few
 * published means lie a little outside of their scale, and stay there.
 *
 * @example
 * valuesOf({ arousal: 3.2, valence: Number.NaN }, 5); // { values: { arousal: 0.55 } }
 */
export function valuesOf(ratings: Readonly<Record<string, number>>, highest: number): { values?: Values } {
  const rated = Object.entries(ratings).filter(([, rating]) => Number.isFinite(rating));
  if (rated.length === 0) return {};
  return { values: Object.fromEntries(rated.map(([name, rating]) => [name, (rating - 1) / (highest - 1)])) };
}

/** Whether an utterance has a value of each of some dimensions. */
export function hasValues({ values }: Pick<Utterance, 'values'>, dimensions: readonly string[]): boolean {
  return dimensions.every((name) => own(values, name) !== undefined);
}
