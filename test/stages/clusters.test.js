import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine } from '../../dist/index.js';
import { clusterFrames, gatherPoints } from '../../dist/stages/clustering.js';
import { agreementOf } from '../../dist/stages/clusterQuality.js';

const near = (actual, expected) => assert.ok(Math.abs(actual - expected) < 1e-6, `${actual} is not ${expected}`);

test('purity and NMI', () => {
  assert.equal(
    agreementOf([
      [8, 0],
      [0, 2],
    ]),
    { purity: 1, nmi: 1, largestClass: 0.8 },
  );
  const nothing = agreementOf([
    [6, 2],
    [3, 1],
  ]);
  near(nothing.purity, 0.75);
  near(nothing.nmi, 0);
  // sklearn: normalized_mutual_info_score([0]*5+[1]*5, [0]*4+[1]+[0]+[1]*4)
  const some = agreementOf([
    [4, 1],
    [1, 4],
  ]);
  near(some.purity, 0.8);
  near(some.nmi, 0.278071905112638);
});

// Two far apart groups of frames in every utterance.
const items = Array.from({ length: 10 }, (_, i) => ({ id: `u${i}`, frames: 20 + i }));
const source = {
  items,
  dimension: 2,
  async *rows() {
    for (const { id, frames } of items) {
      const rows = Float32Array.from({ length: 2 * frames }, (_, i) => ((i >> 1) % 3 === 0 ? 10 : 0) + (i % 7) / 100);
      yield { id, rows };
    }
  },
};
const settings = {
  clusters: 2,
  restarts: 2,
  algorithm: 'lloyd',
  batchSize: 10,
  maxIterations: 20,
  tolerance: 0,
  frameLimit: 1000,
};
const contextOf = (engine) => ({ engine, seed: 1, stage: 'cluster', report: { progress() {} } });

test('every frame gets its cluster, whether all are fitted or a sample', async () => {
  const engine = Engine.create({ threads: 1 });
  try {
    for (const frameLimit of [1000, 60]) {
      const { labels, fittedFrames } = await clusterFrames(contextOf(engine), source, { ...settings, frameLimit });
      assert.is(fittedFrames, Math.min(frameLimit, 245));
      for (const { id, frames } of items) {
        const found = labels.get(id);
        assert.is(found.length, frames);
        for (const [frame, label] of found.entries()) assert.is(label === found[0], frame % 3 === 0);
      }
    }
  } finally {
    engine.dispose();
  }
});

test('a sample has exactly its size, and comes from all over', async () => {
  const seen = { ...source };
  seen.rows = async function* () {
    for (const [index, { id, frames }] of items.entries()) yield { id, rows: new Float32Array(2 * frames).fill(index) };
  };
  const { points, complete } = await gatherPoints(contextOf(), seen, 100);
  assert.is(complete, false);
  assert.is(points.length, 200);
  assert.is(new Set(points).size, items.length);
});

test('more clusters than frames is refused', async () => {
  await clusterFrames(contextOf(), source, { ...settings, clusters: 300 }).then(
    () => assert.unreachable(),
    (error) => {
      assert.is(error.code, 'ERR_CLUSTERS');
      assert.match(error.message, /Lower cluster\.kmeans\.clusters/);
    },
  );
});

test.run();
