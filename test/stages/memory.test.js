import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, Engine, packSamples, parseConfig, readCorpus, Trainer } from '../../dist/index.js';
import { loadClassifier } from '../../dist/predict/loadModel.js';
import { planPasses } from '../../dist/predict/passMemory.js';
import { largestPass } from '../../dist/stages/memoryPlan.js';
import { emoframe } from '../support/cli.js';
import { loadModel, pack, readData, stepOptions } from '../support/parity.js';
import { refused } from '../support/refused.js';
import { writeWav } from '../support/syntheticRun.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';
import { writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('memory');
const { utterances, mask, clusters } = await readData();
const optimizer = { learningRate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0, clipNorm: 1, step: 1 };
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-memory-'));
});
test.after(() => rm(dir, { recursive: true, force: true }));

const withEngine = async (settings, use) => {
  const engine = Engine.create({ threads: 1, ...settings });
  try {
    await use(engine);
  } finally {
    engine.dispose();
  }
};

const work = {
  objective: 'masked-prediction',
  frames: mask.length,
  utterances: utterances.length,
  storedFrames: 0,
  longestStoredFrames: 0,
};

test('a plan says what training takes at its most, before anything is taken', async () => {
  await withEngine({}, async (engine) => {
    const model = await loadModel(engine, 'base', { objective: 'masked-prediction' });
    const before = await engine.memory();
    const plan = await model.plan(work);
    assert.is((await engine.memory()).held, before.held);
    const { weights, gradients, moments, features, activations, scratch, total } = plan;
    assert.is(weights + gradients + moments + features + activations + scratch, total);
    assert.is(moments, 2 * gradients);
    assert.is(features, 0);
    await model.prepare(work);
    // Frames that are not masked take less.
    await model.trainStep(
      pack(model, utterances),
      stepOptions(
        'masked-prediction',
        clusters,
        mask.map(() => 1),
      ),
    );
    await model.optimizerStep(optimizer);
    const { peak } = await engine.memory();
    assert.ok(peak <= total + 4096 && peak > 0.95 * total, `planned ${total}, took ${peak}`);
    const { objective: _, ...running } = work;
    const run = await model.plan({ ...running, storedFrames: 100, longestStoredFrames: 50 });
    assert.is(run.gradients + run.moments, 0);
    assert.is(run.features, 100 * model.config.shape.convDim.at(-1) * 4);
    await refused(model.plan({ ...work, frames: 1 }), 'ERR_ARGUMENT', /at least one utterance/);
    await refused(model.plan({ ...work, storedFrames: -1 }), 'ERR_ARGUMENT', /negative/);
  });
});

test('the largest pass of a set is bounded by what can come together', () => {
  const lengths = [50, 10, 40, 20];
  assert.equal(largestPass({ lengths }, 1000), { frames: 120, utterances: 4 });
  assert.equal(largestPass({ lengths }, 60), { frames: 60, utterances: 2 });
  assert.equal(largestPass({ lengths, frames: 75 }, 1000), { frames: 75, utterances: 3 });
  // Drawn with replacement: the shortest, and the longest, may come again and again.
  assert.equal(largestPass({ lengths, draws: 8 }, 1000), { frames: 400, utterances: 8 });
  assert.equal(largestPass({ lengths, draws: 8 }, 60), { frames: 60, utterances: 6 });
  assert.equal(largestPass({ lengths: [] }, 60), { frames: 1, utterances: 1 });
});

test('an engine that ran into its limit goes on as if nothing had been', async () => {
  const gradients = [];
  for (const memoryLimit of [0, 12 * 2 ** 20]) {
    await withEngine({ memoryLimit }, async (engine) => {
      const model = await loadModel(engine, 'base', { objective: 'masked-prediction' });
      if (memoryLimit > 0) {
        const long = pack(model, [new Float32Array(16000 * 40).fill(0.1)]);
        await refused(model.encode(long, 1), 'ERR_OUT_OF_MEMORY', /MB more needed, .* of 12 MB left.*memoryLimit/);
        await refused(model.prepare({ ...work, frames: 4000 }), 'ERR_OUT_OF_MEMORY', /needs \d+ MB .*\d+ MB available/);
        const { held, available } = await engine.memory();
        assert.is(held + available, memoryLimit);
      }
      await model.trainStep(pack(model, utterances), stepOptions('masked-prediction', clusters, mask));
      gradients.push(await model.exportGradients());
    });
  }
  assert.equal(gradients[1], gradients[0]);
});

test('a limit must be a number of bytes', () => {
  for (const memoryLimit of [-1, 0.5, Number.NaN, '1']) {
    assert.throws(
      () => Engine.create({ memoryLimit }),
      (error) => error.code === 'ERR_ARGUMENT' && /memoryLimit but received/.test(error.message),
    );
  }
});

test('a stage says what it needs before its first step, and is refused where there is less', async () => {
  const corpus = await readCorpus(writeTinyCorpus(join(dir, 'corpus')));
  const options = { corpus, config: parseConfig(tinyConfig), threads: 1 };
  const out = join(dir, 'run');
  const reported = [];
  const onProgress = ({ message, done }) => reported.push([message, done]);
  const trainer = await Trainer.open({ ...options, out });
  await trainer.mfcc({ folds: ['s1'], onProgress }).finally(() => trainer.dispose());
  const needs = reported.findIndex(([message]) =>
    /^needs \d+ MiB on cpu .*weights.*, \d+ MiB available$/.test(message),
  );
  assert.ok(needs >= 0, reported.join('\n'));
  assert.ok(reported.slice(0, needs).every(([message, done]) => message !== undefined || done === 0));
  const rows = (await readFile(join(out, 'log.jsonl'), 'utf8')).trim().split('\n').map(JSON.parse);
  const { memory } = rows.find((row) => row.memory !== undefined);
  const { total, ...parts } = memory;
  assert.ok(total > 0);
  assert.is(
    Object.values(parts).reduce((sum, bytes) => sum + bytes, 0),
    total,
  );

  const limited = await Trainer.open({ ...options, out: join(dir, 'limited'), memoryLimit: 2 ** 20 });
  await refused(
    limited.mfcc({ folds: ['s1'] }).finally(() => limited.dispose()),
    'ERR_OUT_OF_MEMORY',
    /^Stage mfcc: .*needs \d+ MB .*MB available.* lower memory\.passSeconds \(64\).*precision bf16.*raise memoryLimit/,
  );
});

test('memory of prediction is taken before a pass, grows rarely, and what does not fit is not begun', async () => {
  const predictor = await writeTinyPredictor(join(dir, 'planned'));
  const of = ({ model }, ...seconds) =>
    packSamples(
      seconds.map((count) => new Float32Array(16000 * count).fill(0.1)),
      model.geometry.stride,
    );
  const withPredictor = (memoryLimit, use) =>
    withEngine({ memoryLimit }, async (engine) => {
      const loaded = await loadClassifier(engine, predictor, 'fp32');
      const held = async () => (await engine.memory()).held;
      const classify = (...seconds) => {
        const batch = of(loaded, ...seconds);
        return loaded.memory.run(batch, false, () => loaded.model.classify(batch));
      };
      await use({ engine, loaded, held, classify });
    });

  let weights = 0;
  await withPredictor(2 ** 30, async ({ engine, loaded, held, classify }) => {
    weights = await held();
    await classify(1);
    const small = await held();
    const pass = { frames: 499, utterances: 1, ranges: false };
    const { total, available } = await planPasses(engine, [loaded.memory], [pass]);
    assert.is(available, 2 ** 30);
    await classify(10);
    const large = await held();
    assert.ok(large > small && small > weights, 'short audio takes less than long audio');
    assert.ok(large <= total + 4096 && large > 0.98 * total, `${large} held of ${total} planned`);
    for (const seconds of [[9], [10.2], [1], [10]]) await classify(...seconds);
    assert.is(await held(), large, 'nothing more is asked for');
    await classify(4, 3, 1);
    await classify(3, 3, 2);
    const { peak } = await engine.memory();
    assert.is(peak, await held(), 'an arena is taken as one');
  });

  // As much as just fits, with no room to round up.
  const exact = { frames: 129, utterances: 1, storedFrames: 0, longestStoredFrames: 0 };
  let needed = 0;
  await withPredictor(0, async ({ loaded }) => {
    needed = (await loaded.model.plan(exact)).total;
  });
  await withPredictor(needed + 4096, async ({ loaded, classify }) => {
    const samples = loaded.model.geometry.samplesFor(exact.frames);
    await classify(samples / 16000);
    let begun = false;
    await refused(
      loaded.memory.run(of(loaded, 20), true, async () => {
        begun = true;
      }),
      'ERR_OUT_OF_MEMORY',
      /MB available.*lower windowSeconds/,
    );
    assert.not(begun);
    await classify(samples / 16000);
  });
});

test('what prediction needs at its most can be asked for', async () => {
  const predictor = await writeTinyPredictor(join(dir, 'asked'));
  const model = await EmotionModel.load(predictor, { threads: 1, memoryLimit: 2 ** 30 });
  try {
    const usual = await model.plan();
    assert.is(usual.total, usual.weights + usual.passes);
    assert.is(usual.available, 2 ** 30);
    assert.ok((await model.plan({ windowSeconds: 90 })).passes > 1.5 * usual.passes);
    assert.ok((await model.plan({ batchSeconds: 90 })).passes > 1.5 * usual.passes);
    assert.equal((await model.plan({ windowSeconds: 30, batchSeconds: 1 })).weights, usual.weights);
    await refused(model.plan({ windowSeconds: 0 }), 'ERR_ARGUMENT', /windowSeconds/);
    await refused(model.plan({ seconds: 1 }), 'ERR_ARGUMENT', /no option 'seconds'/);
  } finally {
    await model.dispose();
  }
  await refused(model.plan(), 'ERR_DISPOSED', /load it again/);
});

test('prediction that does not fit says what makes it fit, and shorter audio still does', async () => {
  const predictor = await writeTinyPredictor(join(dir, 'predictor'));
  const [long, short] = [60, 1].map((seconds) => ({
    id: `${seconds}`,
    samples: Float32Array.from({ length: 16000 * seconds }, (_, i) => Math.sin(i)),
  }));
  const model = await EmotionModel.load(predictor, { threads: 1, memoryLimit: 12 * 2 ** 20 });
  try {
    await refused(
      model.predict(long.samples, { sampleRate: 16000, windowSeconds: 60 }),
      'ERR_OUT_OF_MEMORY',
      /needs \d+ MB of cpu, \d+ MB of it for a pass: .*MB available.*lower windowSeconds.*precision bf16.*raise memoryLimit/,
    );
    const { label } = await model.predict(short.samples, { sampleRate: 16000 });
    assert.type(label, 'string');
  } finally {
    model.dispose();
  }
  const wav = join(dir, 'long.wav');
  writeWav(wav, long.samples);
  const { code, stderr } = await emoframe([
    'predict',
    wav,
    '--model',
    predictor,
    '--window-seconds',
    '60',
    '--memory-limit',
    '0.01171875',
  ]);
  assert.is(code, 1);
  assert.match(stderr, /needs at most \d+ MiB on cpu .*, 12 MiB available: audio that does not fit will be refused/);
  assert.match(stderr, /needs \d+ MB of cpu.*12 MB available.*ERR_OUT_OF_MEMORY/s);
  const wav1 = join(dir, 'short.wav');
  writeWav(wav1, short.samples);
  for (const command of ['predict', 'encode']) {
    const words = [command, wav1, '--model', predictor, ...(command === 'encode' ? ['--out', dir] : [])];
    const limited = await emoframe([...words, '--memory-limit', '1']);
    assert.is(limited.code, 0, limited.stderr);
    assert.match(limited.stderr, /^needs at most \d+ MiB on cpu \(.*weights.*passes\), \d+ MiB available$/m);
    assert.not.match((await emoframe(words)).stderr, /needs/);
  }
  const wrong = await emoframe(['predict', wav, '--model', predictor, '--memory-limit', '0']);
  assert.is(wrong.code, 2);
  assert.match(wrong.stderr, /Expected positive number for --memory-limit/);
});

test.run();
