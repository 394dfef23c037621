import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { poolingOf, readHead, writeHead } from '../../dist/checkpoint/head.js';
import { alignmentField, Geometry, splitTensors } from '../../dist/index.js';
import { WindowPlan } from '../../dist/predict/windows.js';
import { refused } from '../support/refused.js';

const test = suite('alignment head');
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-head-'));
});
test.after(() => rm(dir, { recursive: true, force: true }));

const alignment = {
  neutral: 1,
  source: 'features',
  layer: 0,
  chunkFrames: 50,
  contextFrames: 10,
  melBands: 40,
  width: 8,
  halfWidths: [4, 8, 8],
  dropout: 0.1,
  scale: 0.1,
  switchingCost: 4,
};
const rows = (name, count) => ({ name, shape: [count, 2], data: new Float32Array(2 * count).fill(0.5) });
const head = (more = {}) => ({
  kind: 'classifier',
  labels: ['ang', 'neu'],
  alignment,
  tensors: [rows('alignment.output.weight', 2)],
  ...more,
});

test('settings and weights of the decision are read as they were written', async () => {
  for (const more of [{}, { calibration: { alignment: 0.5 } }, { calibration: {}, pooling: 'mean' }]) {
    const written = head(more);
    await writeHead(dir, written);
    assert.equal(await readHead(dir), written);
  }
});

test('a head pools by what it says, by attention if it says nothing, and not at all with an alignment network alone', () => {
  assert.is(poolingOf({}), 'attention');
  assert.is(poolingOf({ pooling: 'stats' }), 'stats');
  assert.is(poolingOf({ alignment }), undefined);
  assert.is(poolingOf({ alignment, pooling: 'mean' }), 'mean');
});

test('an alignment network’s tensors are a head’s', () => {
  const tensors = [{ name: 'alignment.output.weight' }, { name: 'encoder.layer_norm.weight' }];
  assert.equal(splitTensors(tensors), { head: [tensors[0]], encoder: [tensors[1]] });
});

test('what is wrong with a description is reported with its field', async () => {
  const file = join(dir, 'emoframe.json');
  const read = async (change) => {
    await writeHead(dir, head());
    const described = JSON.parse(await readFile(file, 'utf8'));
    change(described);
    await writeFile(file, JSON.stringify(described));
    return readHead(dir);
  };
  for (const [change, pattern] of [
    [({ alignment: settings }) => Object.assign(settings, { neutral: 2 }), /alignment\.neutral: .*one of the labels/],
    [({ alignment: settings }) => Object.assign(settings, { neutral: -1 }), /alignment\.neutral/],
    [({ alignment: settings }) => Object.assign(settings, { source: 'mfcc' }), /alignment\.source: .*"hidden"/],
    [({ alignment: settings }) => Object.assign(settings, { layer: 'last' }), /alignment\.layer: .*'output'/],
    [
      ({ alignment: settings }) => Object.assign(settings, { source: 'layers', layer: 'output' }),
      /alignment\.layer: .*number/,
    ],
    [({ alignment: settings }) => Object.assign(settings, { chunkFrames: 0 }), /alignment\.chunkFrames/],
    [({ alignment: settings }) => Object.assign(settings, { scale: 0 }), /alignment\.scale/],
    [({ alignment: settings }) => Object.assign(settings, { halfWidths: [4, 1.5] }), /alignment\.halfWidths\.1/],
    [({ alignment: settings }) => delete settings.width, /alignment\.width/],
    [({ alignment: settings }) => Object.assign(settings, { kappa: 1 }), /alignment: .*"kappa"/],
    [(described) => Object.assign(described, { calibration: { classifier: -1 } }), /calibration\.classifier/],
    [(described) => Object.assign(described, { calibration: { temperature: 1 } }), /calibration: .*"temperature"/],
    [(described) => Object.assign(described, { kind: 'masked-prediction' }), /alignment: only a classifier/],
  ])
    await refused(read(change), 'ERR_CHECKPOINT', pattern);
  const more = (described) => described.labels.push('sad');
  await refused(read(more), 'ERR_TENSOR', /3 labels, but alignment\.output\.weight .* 2 rows/);
});

const geometry = new Geometry({ convKernel: [10, 3, 3, 3, 3, 2, 2], convStride: [5, 2, 2, 2, 2, 2, 2] });
const near = (found, expected) => assert.ok(Math.abs(found - expected) < 1e-9, `${found} is not ${expected}`);

test('the context of a network follows from its convolutions, and from the chunks that it reads', () => {
  const field = alignmentField(alignment, geometry.frameSeconds);
  assert.is(field.frames, 20);
  near(field.seconds, 0.4);
  assert.equal([field.chunk, field.overlap], [1, 20]);
  const chunked = alignmentField({ ...alignment, source: 'hidden' }, geometry.frameSeconds);
  assert.is(chunked.frames, 20 + 49 + 10);
  assert.equal([chunked.chunk, chunked.overlap], [50, 70]);
});

const same = (found, expected) => JSON.stringify(found) === JSON.stringify(expected);

/** What of an utterance, that is there from `start` to `end`, has a part in a frame's logits: ranges, as they lie in it. */
function contextOf(frame, { start, end }, { source, chunkFrames, contextFrames, halfWidths }) {
  const reach = halfWidths.reduce((sum, half) => sum + half, 0);
  const ranges = [];
  for (let near = Math.max(frame - reach, start); near <= Math.min(frame + reach, end - 1); near++) {
    if (source === 'features') ranges.push(near);
    else {
      const first = start + Math.floor((near - start) / chunkFrames) * chunkFrames;
      const last = Math.min(first + chunkFrames, end);
      ranges.push([Math.max(first - contextFrames, start), first, last, Math.min(last + contextFrames, end)]);
    }
  }
  return ranges;
}

for (const settings of [
  { ...alignment, halfWidths: [2, 3] },
  { ...alignment, source: 'hidden', chunkFrames: 7, contextFrames: 0, halfWidths: [3] },
  { ...alignment, source: 'hidden', chunkFrames: 7, contextFrames: 3, halfWidths: [] },
  { ...alignment, source: 'layers', layer: 1, chunkFrames: 4, contextFrames: 9, halfWidths: [1, 2] },
]) {
  const { source, chunkFrames, contextFrames } = settings;
  test(`${source}, chunks of ${chunkFrames} with ${contextFrames} around: a kept frame has in a window the context that it has in the whole`, () => {
    const field = alignmentField(settings, geometry.frameSeconds);
    let differs = false;
    let farthest = 0;
    for (const frames of [30, 100, 101, 137]) {
      const whole = { start: 0, end: frames };
      for (const windowFrames of [37, 50, 64].filter((length) => length > 2 * field.overlap + 2 * field.chunk)) {
        const windowSeconds = windowFrames * geometry.frameSeconds;
        const overlapSeconds = field.overlap * geometry.frameSeconds;
        const plan = new WindowPlan(geometry, { windowSeconds, overlapSeconds }, field);
        let kept = 0;
        for (const window of plan.over(frames)) {
          assert.is(window.start % field.chunk, 0);
          assert.ok(window.end - window.start <= windowFrames);
          assert.is(window.keepStart, kept);
          kept = window.keepEnd;
          for (let frame = window.keepStart; frame < window.keepEnd; frame++) {
            const ranges = contextOf(frame, whole, settings);
            assert.equal(contextOf(frame, window, settings), ranges, `frame ${frame} of ${frames}`);
            const distances = ranges.flat().map((place) => Math.abs(place - frame));
            farthest = Math.max(farthest, ...distances);
          }
          // With a frame less of overlap one more would be kept.
          const next = window.keepEnd;
          if (next < frames) differs ||= !same(contextOf(next, window, settings), contextOf(next, whole, settings));
        }
        assert.is(kept, frames);
      }
    }
    assert.ok(differs, 'the overlap is more than is needed');
    // The ends of ranges are one beyond their last frame.
    assert.is(farthest - (source === 'features' ? 0 : 1), field.frames);
  });
}

test('windows are refused that are too short for the context of the network', async () => {
  const field = alignmentField(alignment, geometry.frameSeconds);
  const plan = (options, grid = field) => new WindowPlan(geometry, options, grid);
  await refused(
    async () => plan({ overlapSeconds: 0.2 }),
    'ERR_ARGUMENT',
    /overlapSeconds of at least 0\.4.*received 0\.2/,
  );
  await refused(async () => plan({ windowSeconds: 0.8 }), 'ERR_ARGUMENT', /windowSeconds of at least 0\.82.*0\.4/);
  assert.equal(plan({ windowSeconds: 0.82 }).used, { seconds: 0.82, overlap: 0.4 });
  assert.equal(plan({}).used, { seconds: 30, overlap: 2 });
  const chunked = alignmentField({ ...alignment, source: 'hidden' }, geometry.frameSeconds);
  await refused(async () => plan({ windowSeconds: 3.9 }, chunked), 'ERR_ARGUMENT', /windowSeconds of at least 4/);
  // Whole chunks of a second.
  assert.equal(plan({ windowSeconds: 4.7 }, chunked).used, { seconds: 4, overlap: 1.4 });
});

test('a frame waits for its window, and for what its posterior takes into account', () => {
  assert.is(new WindowPlan(geometry, { windowSeconds: 6, overlapSeconds: 1.5 }).latencySeconds(0), 6);
  assert.is(new WindowPlan(geometry, { windowSeconds: 6, overlapSeconds: 1.5 }).latencySeconds(1), 6);
  assert.is(new WindowPlan(geometry, { windowSeconds: 6, overlapSeconds: 0.4 }).latencySeconds(1), 6.6);
});

test.run();
