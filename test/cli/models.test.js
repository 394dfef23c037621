import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isModelName } from '../../dist/hub/download.js';
import { loadPretrained } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { fixtures, labels, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('command line: models');
let dir;
test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-cli-models-'));
  await writeTinyPredictor(join(dir, 'stats'), { pooling: 'stats', clusters: false });
  await writeTinyPredictor(join(dir, 'both'), { form: 'large', pooling: 'mean', alignment: {}, clusters: false });
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('models lists public models by form, each with what it gives and its licence', async () => {
  const { code, stdout } = await emoframe(['models', '--json']);
  assert.is(code, 0);
  const forms = JSON.parse(stdout);
  const models = forms.flatMap((form) => form.models);
  assert.ok(models.length > 8);
  const text = (await emoframe(['models'])).stdout;
  for (const { form } of forms) assert.match(text, new RegExp(`^${form}: `, 'm'));
  for (const { name, licence, gives, language } of models) {
    assert.ok(isModelName(name), name);
    const line = text.split('\n').find((one) => one.includes(` ${name} `));
    for (const part of [licence, gives, language]) assert.ok(line.includes(part), `${part} in ${line}`);
  }
  assert.is(new Set(models.map(({ name }) => name)).size, models.length);
  // There is a tiny model in each of the forms, which is read as such.
  const read = new Map();
  for (const name of readdirSync(join(fixtures, 'forms')).filter((one) => !one.endsWith('.json'))) {
    const options = name === 'ctc' ? { head: 'ctc-mean' } : {};
    const { form, head } = await loadPretrained(join(fixtures, 'forms', name), options);
    read.set(form, head);
  }
  for (const { form } of forms) assert.is(read.get(form)?.kind, 'classifier', form);
});

test('model says what a predictor is, takes and does', async () => {
  const text = await emoframe(['model', join(dir, 'stats'), '--threads', '1']);
  assert.is(text.code, 0, text.stderr);
  for (const line of [
    /^ {2}encoder +hubert, 2 layers, 16 channels$/m,
    new RegExp(`^ {2}emotions +${labels.join(', ')}$`, 'm'),
    /^ {2}head +output of the encoder → pooling of weighted mean and standard deviation → linear to 4 classes$/m,
    /^ {2}timeline +attention: /m,
    /^ {2}input +16 kHz, as it is$/m,
    /^ {2}memory +\d+ MiB on cpu at most/m,
    /^ {2}speed +[\d.]+ s of audio a second, measured on cpu$/m,
  ])
    assert.match(text.stdout, line);
  const { stdout } = await emoframe(['model', join(dir, 'both'), '--json', '--threads', '1']);
  const facts = JSON.parse(stdout);
  assert.equal([facts.task, facts.labels, facts.timeline], ['classification', labels, 'alignment']);
  assert.equal(facts.head.slice(-2), ['linear to 4 classes', 'alignment network over the feature encoder']);
  assert.equal(facts.input, { sampleRate: 16000, normalize: true });
  assert.ok(facts.parameters > 5000 && facts.bytes > 4 * 5000, `${facts.parameters} in ${facts.bytes} bytes`);
  assert.ok(facts.memory.total > facts.memory.weights && facts.memory.weights >= 4 * facts.parameters);
  assert.ok(facts.speed > 1, String(facts.speed));
});

test('a speech recogniser is a classifier where --head says so, and there alone', async () => {
  const recogniser = join(fixtures, 'forms', 'ctc');
  const said = ['predict', join(fixtures, 'audio', 'voice.wav'), '--model', recogniser, '--threads', '1', '--json'];
  const { stdout, stderr } = await emoframe([...said, '--head', 'ctc-mean']);
  const [{ probabilities }] = JSON.parse(stdout);
  const { logits } = JSON.parse(readFileSync(join(fixtures, 'forms', 'expected.json'))).ctc;
  const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
  for (const [i, label] of ['neu', 'hap', 'ang', 'sad'].entries()) {
    const right = Math.exp(logits[i]) / sum;
    assert.ok(Math.abs(probabilities[label] - right) < 1e-4, `${label}: ${probabilities[label]} ${stderr}`);
  }
  const without = await emoframe(said);
  assert.is(without.code, 1);
  assert.match(without.stderr, /no classifier head, but one of speech recognition.*--head ctc-mean/);
  const facts = JSON.parse((await emoframe(['model', recogniser, '--json', '--head', 'ctc-mean'])).stdout);
  assert.equal([facts.form, facts.ignored], ['ctc-mean', []]);
});

test('a label in two scripts has a letter of one column in the bar', async () => {
  const model = join(fixtures, 'forms', 'emotion2vec_plus');
  const { stdout } = await emoframe(['predict', join(fixtures, 'audio', 'voice.wav'), '--model', model]);
  assert.match(stdout.split('\n')[1], /^ {2}\|[A-Z]{60}\| {2}1\.20 s$/);
});

test('model says of an encoder that it has no head, and refuses what is no model', async () => {
  const { stdout } = await emoframe(['model', join(fixtures, 'encode', 'base'), '--threads', '1']);
  assert.match(stdout, /^ {2}head +none: hidden states alone$/m);
  assert.not.match(stdout, /emotions|timeline/);
  const nothing = await emoframe(['model', dir]);
  assert.is(nothing.code, 1);
  assert.match(nothing.stderr, /has no config\.json.*ERR_FILE_NOT_FOUND/);
  assert.is((await emoframe(['model'])).code, 2);
});

test.run();
