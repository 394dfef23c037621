import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { emotionalShare } from '../../dist/evaluate/emotionalShare.js';
import { EmotionModel, readSafetensors, writeSafetensors } from '../../dist/index.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { generator, speechLike } from '../support/syntheticRun.js';
import { classifyWhole, labels, tinyAlignment, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('emotion model with an alignment network');
const keep = keeper(test);
const { neutral } = tinyAlignment;
// Such that no decision is certain: else frames would not show whose posteriors they are.
const kinds = {
  alone: { form: 'large', pooling: null, alignment: { scale: 0.02 } },
  both: { pooling: 'attention', alignment: { source: 'hidden' }, calibration: { classifier: 0.5, alignment: 0.02 } },
  layers: {
    form: 'large',
    pooling: 'mean',
    alignment: { source: 'layers' },
    calibration: { classifier: 0.5, alignment: 0.01 },
  },
  // Of louder audio than comes in.
  statistics: {
    pooling: 'stats',
    alignment: { source: 'hidden' },
    statisticsOf: speechLike(4, generator(2)).map((value) => 1.7 * value + 0.03),
    calibration: { classifier: 0.2, alignment: 0.05 },
  },
  'statistics alone': {
    form: 'large',
    pooling: null,
    alignment: { scale: 0.02 },
    statisticsOf: speechLike(4, generator(2)).map((value) => 1.7 * value + 0.03),
  },
};
const random = generator(11);
const utterances = [3, 1.2, 5].map((seconds) => speechLike(seconds, random));
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-alignment-'));
  for (const [kind, options] of Object.entries(kinds)) await writeTinyPredictor(join(dir, kind), options);
  await writeTinyPredictor(join(dir, 'attention'));
});
test.after(() => rm(dir, { recursive: true, force: true }));

const sum = (values) => values.reduce((total, value) => total + value, 0);
const near = (found, expected, tolerance, what = 'it') =>
  assert.ok(Math.abs(found - expected) <= tolerance, `${what}: ${found} is not ${expected}`);

function softmax(logits) {
  const powers = logits.map((logit) => Math.exp(logit));
  return powers.map((power) => power / sum(powers));
}

for (const [kind, { pooling, calibration: weights = {} }] of Object.entries(kinds)) {
  test(`${kind}: the decision is that of all logits, and frames are neutral or of its emotions`, async () => {
    const model = keep(await EmotionModel.load(join(dir, kind)));
    assert.is(model.timeline, 'alignment');
    let changes = 0;
    let likeliest = 1;
    for (const samples of utterances) {
      const result = await classifyWhole(join(dir, kind), samples);
      const found = await model.predict(samples);
      const logits = labels.map(
        (_, c) =>
          (weights.alignment ?? 1) * result.alignment.logits[c] +
          (pooling === null ? 0 : (weights.classifier ?? 1) * result.logits[c]),
      );
      const probabilities = softmax(logits);
      labels.forEach((label, c) => {
        near(found.probabilities[label], probabilities[c], 1e-6, label);
      });
      const highest = Math.max(...probabilities);
      likeliest = Math.min(likeliest, highest);
      assert.is(found.label, labels[probabilities.indexOf(highest)]);
      const { occupancies } = result.alignment;
      for (const [t, { posterior }] of found.frames.entries()) {
        const emotional = probabilities.map((p, c) => (c === neutral ? 0 : p * occupancies[t * labels.length + c]));
        labels.forEach((_, c) => {
          near(posterior[c], c === neutral ? 1 - sum(emotional) : emotional[c], 1e-5, `frame ${t}`);
        });
      }
      // In the segments the emotion is where its islands are, and nothing else is.
      const emotion = labels.indexOf(found.label);
      assert.is(found.segments[0].start, 0);
      near(found.segments.at(-1).end, found.seconds, 1e-4);
      for (const [i, { start, end, label, confidence }] of found.segments.entries()) {
        if (i > 0) assert.is(start, found.segments[i - 1].end);
        assert.ok([found.label, labels[neutral]].includes(label));
        const inside = found.frames.filter(({ time }) => time > start && time < end);
        near(confidence, sum(inside.map(({ posterior }) => posterior[labels.indexOf(label)])) / inside.length, 1e-6);
      }
      for (const [t, { time }] of found.frames.entries()) {
        const { label } = found.segments.find(({ end }) => time < end);
        const island = emotion !== neutral && occupancies[t * labels.length + emotion] > 0.5;
        assert.is(label, island ? found.label : labels[neutral], `frame ${t}`);
      }
      changes += found.segments.length - 1;
    }
    assert.ok(changes > 2, 'the test needs timelines that change');
    assert.ok(likeliest < 0.95, 'the test needs decisions that are not certain');
  });
}

test('attention is that of pooling where there is a classifier, and else the share of what is not neutral', async () => {
  const both = keep(await EmotionModel.load(join(dir, 'both')));
  const pooled = (await both.predict(utterances[0])).columns.attention;
  assert.equal(pooled, (await classifyWhole(join(dir, 'both'), utterances[0])).attention);
  const alone = keep(await EmotionModel.load(join(dir, 'alone')));
  const { frames } = await alone.predict(utterances[0]);
  const emotional = frames.map(({ posterior }) => 1 - posterior[neutral]);
  near(sum(frames.map(({ attention }) => attention)), 1, 1e-5);
  for (const [t, { attention }] of frames.entries()) near(attention, emotional[t] / sum(emotional), 1e-5, `frame ${t}`);
  assert.equal(emotionalShare(Float32Array.of(0, 1, 0, 1), 2, 1), Float32Array.of(0.5, 0.5));
});

test('in one pass the cost of a switch changes nothing', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'alone')));
  const [samples] = utterances;
  assert.equal(
    await model.predict(samples, { switchingCost: 0 }),
    await model.predict(samples, { switchingCost: 1000 }),
  );
});

test('utterances give in a batch what each gives alone', async () => {
  for (const kind of Object.keys(kinds)) {
    const model = keep(await EmotionModel.load(join(dir, kind)));
    let index = 0;
    for await (const found of model.predictMany(utterances)) {
      const alone = await model.predict(utterances[index++]);
      assert.is(found.label, alone.label);
      assert.equal(found.columns.posteriors.length, alone.columns.posteriors.length);
      found.columns.posteriors.forEach((p, i) => {
        near(p, alone.columns.posteriors[i], 1e-4, `${kind} ${i}`);
      });
      assert.is(found.columns.posteriors.buffer.byteLength, found.columns.posteriors.byteLength);
    }
  }
});

test('a model of the published method says that its timeline is attention', async () => {
  assert.is(keep(await EmotionModel.load(join(dir, 'attention'))).timeline, 'attention');
});

test('what is planned for is enough', async () => {
  for (const kind of Object.keys(kinds)) {
    const sizes = { windowSeconds: 4, batchSeconds: 4 };
    const { total } = await keep(await EmotionModel.load(join(dir, kind))).plan(sizes);
    const limited = keep(await EmotionModel.load(join(dir, kind), { memoryLimit: total }));
    for await (const { label } of limited.predictMany(utterances, sizes)) assert.ok(labels.includes(label));
    const tight = keep(await EmotionModel.load(join(dir, kind), { memoryLimit: Math.floor(0.98 * total) }));
    await refused(tight.predict(utterances[2], { windowSeconds: 6 }), 'ERR_OUT_OF_MEMORY', /windowSeconds/);
  }
});

test('a head whose description and tensors differ is refused', async () => {
  const broken = await writeTinyPredictor(join(dir, 'broken'), kinds.both);
  const [described, weights] = [join(broken, 'emoframe.json'), join(broken, 'head.safetensors')];
  const head = JSON.parse(await readFile(described, 'utf8'));
  const { tensors } = await readSafetensors(weights);
  await writeSafetensors(
    weights,
    [...tensors.values()].filter(({ name }) => name !== 'alignment.output.bias'),
  );
  await refused(EmotionModel.load(broken), 'ERR_TENSOR', /missing: alignment\.output\.bias/);
  await writeSafetensors(weights, [...tensors.values()]);
  await writeFile(described, JSON.stringify({ ...head, alignment: undefined }));
  await refused(EmotionModel.load(broken), 'ERR_TENSOR', /alignment\./);
  await writeFile(described, JSON.stringify({ ...head, alignment: { ...head.alignment, width: 13 } }));
  await refused(EmotionModel.load(broken), 'ERR_TENSOR', /alignment\..* \[.*13/);
});

test('a recording of any gain gives the same where its level is matched, in one pass, in windows and as a stream', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'statistics'), { clusters: false }));
  const samples = utterances[2];
  const quiet = samples.map((value) => 0.3 * value);
  const posteriorsOf = async (sound, options) => (await model.predict(sound, options)).columns.posteriors;
  const farthest = (a, b) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));
  for (const windows of [{}, { windowSeconds: 3 }]) {
    const asItIs = farthest(await posteriorsOf(quiet, windows), await posteriorsOf(samples, windows));
    assert.ok(asItIs > 1e-2, `the gain must matter where it is not matched: ${asItIs}`);
    const matched = { ...windows, level: 'match' };
    const found = farthest(await posteriorsOf(quiet, matched), await posteriorsOf(samples, matched));
    assert.ok(found < 1e-3, `${found}`);
  }
  const streamed = [];
  for await (const { frames } of model.stream(quiet, { windowSeconds: 3, level: 'match' }))
    streamed.push(...frames.map(({ posterior }) => posterior));
  assert.equal(streamed.flat(), [...(await posteriorsOf(quiet, { windowSeconds: 3, level: 'match' }))]);
  await refused(
    () => model.stream(quiet, { level: 'match', normalizeBy: 'window' }).next(),
    'ERR_ARGUMENT',
    /whose end is not known/,
  );
});

test.run();
