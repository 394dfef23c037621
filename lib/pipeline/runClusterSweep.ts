import { type SweepRow, sweepClusters } from '../stages/cluster.js';
import type { RunOptions } from './options.js';
import { withSession } from './session.js';

/**
 * Clusters at each layer with each number of clusters, per fold, without touching the run's own clusters: to choose
 * `cluster.layer` and `cluster.kmeans.clusters` by inertia and, where frame-level truth is known, purity and NMI.
 *
 * @throws `ERR_STAGE` when stage 1b is not done.
 * @example
 * await runClusterSweep(options, { layers: [6, 9, 12], clusters: [20, 50, 100] });
 */
export async function runClusterSweep(
  options: RunOptions,
  sweep: { layers: readonly number[]; clusters: readonly number[] },
): Promise<{ fold: string; rows: SweepRow[] }[]> {
  return withSession(options, true, async (session) => {
    const results: { fold: string; rows: SweepRow[] }[] = [];
    for (const fold of session.folds) {
      await session.requireNeeds(fold, 'cluster');
      results.push({ fold: fold.name, rows: await sweepClusters(session.context(fold, 'cluster'), sweep) });
    }
    return results;
  });
}
