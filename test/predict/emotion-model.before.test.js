// A predictor directory that was written, and predicted with, before heads could have an alignment network.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel } from '../../dist/index.js';
import { keeper } from '../support/kept.js';
import { fixtures } from '../support/tinyPredictor.js';

const test = suite('emotion model from before');
const keep = keeper(test);
const voice = join(fixtures, 'audio', 'voice.wav');
const saved = join(fixtures, 'predictors', 'before');
const options = { switchingCost: 0.5 };
const windows = { ...options, windowSeconds: 0.6, overlapSeconds: 0.1 };
let before;
test.before(async () => {
  before = JSON.parse(await readFile(`${saved}.json`, 'utf8'));
});

/** The same but for the last digits, in which processors differ. */
function same(found, expected) {
  if (typeof expected === 'number') {
    const tolerance = 2e-5 * Math.max(1, Math.abs(expected));
    assert.ok(Math.abs(found - expected) <= tolerance, `${found} is not ${expected}`);
  } else if (typeof expected === 'object' && expected !== null) {
    assert.equal(Object.keys(found), Object.keys(expected));
    for (const key of Object.keys(expected)) same(found[key], expected[key]);
  } else assert.is(found, expected);
}

for (const [name, settings] of [
  ['once', options],
  ['windows', windows],
]) {
  test(`what was predicted before is predicted now: ${name}`, async () => {
    const model = keep(await EmotionModel.load(saved));
    assert.is(model.timeline, 'attention');
    const { frames, ...found } = await model.predict(voice, settings);
    const { columns, ...expected } = before[name];
    same(found, expected);
    const listed = (value) => frames.flatMap(value);
    same(
      listed(({ posterior }) => posterior),
      columns.posteriors,
    );
    same(
      listed(({ attention }) => attention),
      columns.attention,
    );
    same(
      listed(({ cluster }) => cluster),
      columns.clusters,
    );
  });
}

test('what was streamed before is streamed now', async () => {
  const model = keep(await EmotionModel.load(saved));
  const chunks = [];
  for await (const chunk of model.stream(voice, windows)) chunks.push(chunk);
  same(chunks, before.stream);
});

test.run();
