import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packFeatures, packSamples } from '../../dist/index.js';
import { groupBy } from '../../dist/lists.js';

test('utterances lie end to end, each at a multiple of the stride', () => {
  const utterances = [400, 640, 1001].map((length, index) => new Float32Array(length).fill(index + 1));
  const { samples, starts, lengths } = packSamples(utterances, 320);
  assert.equal([...starts], [0, 640, 1280]);
  assert.equal([...lengths], [400, 640, 1001]);
  for (const [index, utterance] of utterances.entries()) assert.is(samples[index], utterance, 'no copy is made');
});

test('a batch is normalised only on request: by its own statistics, or by those given', () => {
  const utterances = [new Float32Array(400), new Float32Array(640)];
  const keys = ({ normalize, waveform }) => [normalize, waveform && [...waveform]];
  assert.equal(keys(packSamples(utterances, 320)), [undefined, undefined]);
  assert.equal(keys(packSamples(utterances, 320, { normalize: true })), [true, undefined]);
  const statistics = [
    { mean: 1, scale: 2 },
    { mean: 3, scale: 4 },
  ];
  assert.equal(keys(packSamples(utterances, 320, { normalize: statistics })), [true, [1, 2, 3, 4]]);
});

test('stored features come with their frames', () => {
  const batch = packFeatures(
    ['a', 'b'],
    [
      { start: 0, count: 3 },
      { start: 5, count: 7 },
    ],
  );
  assert.equal(batch.features, ['a', 'b']);
  assert.equal([...batch.frameStarts], [0, 5]);
  assert.equal([...batch.frameCounts], [3, 7]);
});

test('groups keep the order and the capacity', () => {
  const size = (item) => item;
  assert.equal(groupBy([4, 4, 4, 1, 9, 2], size, 8), [[4, 4], [4, 1], [9], [2]]);
  assert.equal(groupBy([], size, 8), []);
});

test.run();
