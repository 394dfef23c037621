// A tiny model of each form in which heads are published, run as a user runs it, against transformers or plain PyTorch
// (fixtures of scripts/oracle/heads.py).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel } from '../../dist/index.js';
import { keeper } from '../support/kept.js';
import { fixtures } from '../support/tinyPredictor.js';

const test = suite('predictions of public forms');
const keep = keeper(test);
const voice = join(fixtures, 'audio', 'voice.wav');
const expected = JSON.parse(readFileSync(join(fixtures, 'forms', 'expected.json'), 'utf8'));

/** Logits up to what softmax leaves out of them. */
const relative = (logits) => logits.map((logit) => logit - logits[0]);
const logitsOf = (probabilities) => relative(probabilities.map(Math.log));

function near(found, right, what) {
  assert.is(found.length, right.length, what);
  for (const [i, value] of right.entries())
    assert.ok(Math.abs(found[i] - value) < 1e-4, `${what}, output ${i}: ${found[i]} is not ${value}`);
}

for (const [name, { logits, frames }] of Object.entries(expected)) {
  test(`${name}: what it gives of an utterance and of frames, and how these are made`, async () => {
    const options = { threads: 1, ...(name === 'ctc' && { head: 'ctc-mean' }) };
    const model = keep(await EmotionModel.load(join(fixtures, 'forms', name), options));
    const found = await model.predict(voice);
    const regression = model.task === 'regression';
    assert.is(regression, name === 'audeering' || name === 'odyssey');
    if (regression) near(Object.values(found.values), logits, 'utterance');
    else near(logitsOf(Object.values(found.probabilities)), relative(logits), 'utterance');
    if (!regression) assert.is(found.label, model.labels[logits.indexOf(Math.max(...logits))]);
    assert.is(model.timeline, frames === undefined ? 'windows' : 'frames');
    // Every eighth is there.
    for (const [i, outputs] of (frames ?? []).entries())
      near(logitsOf([...found.frames[8 * i].posterior]), relative(outputs), `frame ${8 * i}`);
  });
}

test.run();
