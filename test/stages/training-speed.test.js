// What the log of training says of its speed.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packFeatures } from '../../dist/batch/pack.js';
import { trainingFlops } from '../../dist/model/flops.js';
import { TrainingSpeed } from '../../dist/stages/trainingSpeed.js';
import { makeEngine, noise } from '../support/busyEngine.js';

const test = suite('speed of training');
const { engine, model } = await makeEngine();
test.after(() => engine.dispose());
const options = { objective: 'classification', dropout: false };
const pass = { batch: noise(model, 1.5), options };
const near = (found, expected) => assert.ok(Math.abs(found / expected - 1) < 1e-9, `${found}, expected ${expected}`);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

test('audio, operations and their share are of the same updates and the same time', async () => {
  const speed = new TrainingSpeed(model, 1e9);
  const begun = performance.now();
  for (let update = 0; update < 2; update++) speed.add({ passes: [pass, pass] });
  await sleep(20);
  const { audioSecondsPerSecond, flopsPerSecond, peakShare } = speed.take();
  const seconds = (performance.now() - begun) / 1000;
  const frames = model.geometry.frames(24000);
  const flops = trainingFlops(model.spec, { ...options, lengths: [frames], stored: false, trains: () => true });
  assert.ok(flops > 1e6);
  near(flopsPerSecond / audioSecondsPerSecond, flops / (0.02 * frames));
  near(peakShare, flopsPerSecond / 1e9);
  const rate = (4 * 0.02 * frames) / seconds;
  assert.ok(audioSecondsPerSecond > 0.5 * rate && audioSecondsPerSecond < 2 * rate);
});

test('each answer is of the updates since the last, and without a known peak there is no share', () => {
  const speed = new TrainingSpeed(model, undefined);
  speed.add({ passes: [pass] });
  assert.equal(Object.keys(speed.take()), ['audioSecondsPerSecond', 'flopsPerSecond']);
  assert.equal(speed.take(), { audioSecondsPerSecond: 0, flopsPerSecond: 0 });
});

test('validation and training states are not counted as time', async () => {
  const speed = new TrainingSpeed(model, undefined);
  speed.add({ passes: [pass] });
  await speed.without(() => sleep(500));
  assert.ok(speed.take().audioSecondsPerSecond > 1.5 / 0.4);
});

test('of stored features only the frames that are drawn count, and not their convolutions', async () => {
  await model.storeFeatures(['a'], noise(model, 1.5));
  const speed = new TrainingSpeed(model, undefined);
  speed.add({ passes: [{ batch: packFeatures(['a'], [{ start: 10, count: 40 }]), options }] });
  const { audioSecondsPerSecond, flopsPerSecond } = speed.take();
  const flops = trainingFlops(model.spec, { ...options, lengths: [40], stored: true, trains: () => true });
  near(flopsPerSecond / audioSecondsPerSecond, flops / 0.8);
});

test.run();
