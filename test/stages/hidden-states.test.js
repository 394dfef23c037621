import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine, loadPretrained, parseConfig } from '../../dist/index.js';
import { hiddenStates } from '../../dist/stages/hiddenStates.js';
import { generator, speechLike } from '../support/syntheticRun.js';
import { fixtures } from '../support/tinyPredictor.js';

const test = suite('hidden states');
const engine = Engine.create({ threads: 1 });
test.after(() => engine.dispose());

test('an utterance that is too short for a frame has none to cluster, and the others are there whole', async () => {
  const random = generator(1);
  const sounds = { a: speechLike(0.5, random), short: new Float32Array(300).fill(0.5), b: speechLike(0.3, random) };
  const context = {
    config: parseConfig({ memory: { passSeconds: 30 } }),
    utterances: new Map(Object.keys(sounds).map((id) => [id, { id, audio: `/${id}.wav` }])),
    sampleCounts: new Map(),
    audio: { get: async ({ id }) => sounds[id] },
    report: { progress: () => {} },
  };
  const { config, normalize } = await loadPretrained(join(fixtures, 'encode', 'base'));
  const model = await engine.createModel({ config, precision: 'fp32' });
  await model.initialize(1);
  const { items, dimension, rows } = await hiddenStates(context, { model, normalize }, Object.keys(sounds), 1);
  const found = [];
  for await (const { id, rows: states } of rows()) found.push([id, states.length / dimension]);
  const expected = ['a', 'b'].map((id) => [id, model.geometry.frames(sounds[id].length)]);
  assert.equal(found, expected);
  assert.equal(
    items.map(({ id, frames }) => [id, frames]),
    expected,
  );
});

test.run();
