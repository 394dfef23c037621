import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Geometry, parseConfig } from '../../dist/index.js';
import { frameLabeller } from '../../dist/stages/frameLabels.js';

const geometry = new Geometry({ convKernel: [10, 3, 3, 3, 3, 2, 2], convStride: [5, 2, 2, 2, 2, 2, 2] });
const of = (id, label, segments) => [id, { id, audio: `/${id}.wav`, label, segments }];
const utterances = new Map([
  // Frame i has its centre at 0.0125 + 0.02 i seconds.
  of('angry', 'angry', [{ start: 0.0525, end: 0.1325, label: 'angry' }]),
  of('unknown', 'angry', undefined),
  of('neutral', 'neutral', []),
]);
const contextOf = (truth, train = [...utterances.keys()]) => ({
  config: parseConfig({ align: { truth } }),
  fold: { name: 's1', train, validation: [], test: [] },
  utterances,
  labels: ['angry', 'neutral'],
  neutral: 'neutral',
});

test('a draw has the truth of its own part, and -1 where nothing is known', () => {
  const labelFrames = frameLabeller(contextOf('use'), geometry);
  const labels = labelFrames([
    { id: 'angry', start: 0, count: 8 },
    { id: 'unknown', start: 3, count: 2 },
    { id: 'angry', start: 5, count: 3 },
    { id: 'neutral', start: 0, count: 2 },
  ]);
  assert.instance(labels, Int32Array);
  assert.equal([...labels], [1, 1, 0, 0, 0, 0, 1, 1, -1, -1, 0, 1, 1, 1, 1]);
});

test('truth that is ignored gives no labels at all', () => {
  assert.is(frameLabeller(contextOf('ignore'), geometry), undefined);
  assert.is(parseConfig().align.truth, 'ignore');
});

test('truth that is asked for and that no training utterance has is refused', () => {
  const refusal = (error) => error.code === 'ERR_CORPUS' && /align\.truth.*fold s1 has segments/.test(error.message);
  assert.throws(() => frameLabeller(contextOf('use', ['unknown']), geometry), refusal);
});

test.run();
