// How well clusters match emotions, where a corpus knows the emotion of every frame. It never enters training.

import { frameTruth } from '../evaluate/frames.js';
import { largestOf } from '../lists.js';
import type { Geometry } from '../model/geometry.js';
import { yieldWhenDue } from '../yield.js';
import type { LabelMap } from './clustering.js';
import { type StageContext, utteranceOf } from './context.js';

export interface Agreement {
  /** Share of frames whose class is the commonest of their cluster. */
  purity: number;
  /** Normalised mutual information, 0 to 1 (arithmetic mean of the entropies, as scikit-learn). */
  nmi: number;
  /** Share of the commonest class: what one cluster would give as purity. */
  largestClass: number;
}

/**
 * Purity and NMI of two labellings, given as counts `[clusters][classes]`.
 *
 * @example
 * agreementOf([[8, 0], [0, 2]]); // { purity: 1, nmi: 1, largestClass: 0.8 }
 */
export function agreementOf(counts: readonly (readonly number[])[]): Agreement {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const clusters = counts.map(sum);
  const classes = (counts[0] ?? []).map((_, label) => sum(counts.map((row) => row[label]!)));
  const total = sum(clusters);
  const entropy = (parts: readonly number[]) =>
    -sum(parts.map((part) => (part === 0 ? 0 : (part / total) * Math.log(part / total))));
  const mutual = entropy(clusters) + entropy(classes) - entropy(counts.flat());
  const mean = (entropy(clusters) + entropy(classes)) / 2;
  return {
    purity: sum(counts.map((row) => largestOf(row))) / total,
    nmi: mean === 0 ? 1 : Math.max(0, mutual / mean),
    largestClass: largestOf(classes) / total,
  };
}

/** Agreement over the utterances with known segments; nothing where there are none. */
export async function agreementWithTruth(
  context: StageContext,
  geometry: Geometry,
  labels: LabelMap,
): Promise<Agreement | Record<string, never>> {
  const counts: number[][] = [];
  for (const [id, clusters] of labels) {
    const utterance = utteranceOf(context, id);
    if (utterance.segments === undefined) continue;
    await yieldWhenDue();
    const truth = frameTruth(utterance, context.labels, context.neutral, clusters.length, geometry);
    for (const [frame, cluster] of clusters.entries()) {
      while (counts.length <= cluster) counts.push(new Array<number>(context.labels.length).fill(0));
      counts[cluster]![truth[frame]!]!++;
    }
  }
  return counts.length === 0 ? {} : agreementOf(counts);
}
