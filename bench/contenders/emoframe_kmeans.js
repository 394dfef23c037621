import { join } from 'node:path';
import { binding } from '../../dist/model/binding.js';
import { readFloat32, writeFloat32 } from '../harness/float32.js';
import { serve } from './serve.js';

let engine;
let points;
let state;
serve({
  load: async ({ threads, ...parameters }) => {
    // Not the public Engine, whose kmeans reports its iterations ten times a second, which is too coarse here.
    engine = binding().createEngine({ device: 'cpu', threads, memoryLimit: 0, graphs: true });
    points = await readFloat32(parameters.points);
    state = parameters;
    return {};
  },
  run: async ({ output }) => {
    const { dimension, clusters, restarts, iterations, seed } = state;
    // One iteration led to where all start, one more is not timed.
    const untimed = 2;
    const progress = new Float64Array(2);
    const marks = new Map();
    let seen = 0;
    const timer = setInterval(() => {
      if (progress[0] === seen) return;
      seen = progress[0];
      marks.set(seen, { now: performance.now(), cpu: process.cpuUsage() });
    }, 2);
    const { centroids } = await engine.kmeans({
      points,
      dimension,
      clusters,
      restarts,
      algorithm: 'lloyd',
      batchSize: 1,
      maxIterations: untimed + iterations,
      tolerance: 0,
      seed,
      cancel: new Int32Array(1),
      progress,
    });
    clearInterval(timer);
    const [first, last] = [marks.get(untimed), marks.get(untimed + iterations)];
    if (!first || !last) throw new Error('An iteration took less than can be timed: give more points.');
    const cpu = (last.cpu.user + last.cpu.system - first.cpu.user - first.cpu.system) / 1000;
    const file = join(output, `emoframe-${restarts}-centroids.f32`);
    await writeFloat32(file, centroids);
    const each = iterations * restarts;
    return { milliseconds: (last.now - first.now) / each, cpuMilliseconds: cpu / each, centroids: file };
  },
});
