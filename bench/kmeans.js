// An iteration of Lloyd's algorithm over many points: emoframe, FAISS and scikit-learn. See README.md.
import { join } from 'node:path';
import { Engine } from '../dist/model/engine.js';
import { readFloat32, writeFloat32 } from './harness/float32.js';
import { readOptions } from './harness/options.js';
import { gaussianMixture } from './harness/points.js';
import { report } from './harness/report.js';
import { choose, takeTurns } from './harness/turns.js';
import { inFolder, once } from './harness/workplace.js';

const settings = readOptions(
  "An iteration of Lloyd's k-means over all points, from the same centroids.",
  {
    points: { default: 200_000, help: 'points' },
    dimension: { default: 768, help: 'their dimension' },
    clusters: { default: 50, help: 'clusters' },
    iterations: { default: 10, help: 'iterations of a run that are timed, after one that is not' },
    restarts: { default: 20, help: 'restarts of the contender that does several at once' },
  },
  { runs: 5 },
);
const { points: count, dimension, clusters, iterations, restarts, seed } = settings;
// Of inertia, relative.
const tolerance = 1e-4;

await inFolder(settings.folder, async (folder) => {
  const engine = Engine.create();
  try {
    const name = `points-${seed}-${count}-${dimension}`;
    const file = await once(join(folder, `${name}.f32`), (path) =>
      writeFloat32(path, gaussianMixture(count, dimension, seed)),
    );
    const points = await readFloat32(file);
    // Where all start from: what ours has after k-means++ and one iteration, which it gives and goes through on its own way.
    const start = await once(join(folder, `${name}-${clusters}.f32`), async (path) => {
      const { centroids } = await engine.kmeans(points, dimension, {
        algorithm: 'lloyd',
        clusters,
        restarts: 1,
        batchSize: 1,
        maxIterations: 1,
        tolerance: 0,
        seed,
      });
      await writeFloat32(path, centroids);
    });
    const load = { points: file, dimension, clusters, start, iterations, seed };
    const emoframe = { library: 'emoframe', precision: 'fp32', script: 'emoframe_kmeans.js' };
    const contenders = choose(
      [
        { ...emoframe, name: 'emoframe', load: { ...load, restarts: 1 } },
        { ...emoframe, name: `emoframe ${restarts} restarts`, load: { ...load, restarts } },
        { library: 'FAISS', name: 'FAISS', precision: 'fp32', script: 'faiss_kmeans.py', load },
        { library: 'scikit-learn', name: 'scikit-learn', precision: 'fp32', script: 'sklearn_kmeans.py', load },
      ],
      settings,
    );
    let worst = 0;
    const answered = (answers) => contenders.filter(({ name }) => answers.has(name));
    const { measured, problems } = await takeTurns({
      contenders,
      settings,
      prepare: async () => ({ output: folder }),
      check: async function* (answers) {
        let expected;
        for (const { name } of answered(answers)) {
          const centroids = await readFloat32(answers.get(name).centroids);
          const { inertia } = await engine.assign(points, centroids, dimension);
          expected ??= inertia;
          // Of several restarts the best is kept, which may well be better than the one that all do.
          const error =
            name === `emoframe ${restarts} restarts` ? inertia / expected - 1 : Math.abs(inertia / expected - 1);
          if (!(error <= tolerance)) yield `Inertia of ${name} is ${inertia}, of ${contenders[0].name} ${expected}.`;
          worst = Math.max(worst, error);
        }
      },
    });
    await report(
      {
        bench: `kmeans-${clusters}`,
        title: `An iteration of Lloyd's k-means, ${count} × ${dimension} points, ${clusters} clusters`,
        workload: { points: count, dimension, clusters, iterations, restarts },
        measured,
        problems,
        comparisons: ['FAISS', 'scikit-learn'].flatMap((library) => [
          ['emoframe', library, 'fp32'],
          [`emoframe ${restarts} restarts`, library, 'fp32'],
        ]),
        rate: { work: 2e-9 * count * dimension * clusters, unit: 'GFLOP/s' },
        agreement: `After ${iterations + 1} iterations inertia differs by at most ${worst.toExponential(1)} (relative).`,
      },
      settings,
    );
  } finally {
    engine.dispose();
  }
});
