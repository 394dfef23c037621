import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, Encoder, loadAudio, readSafetensors } from '../../dist/index.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { writeWav } from '../support/syntheticRun.js';
import { centroidCount, clusterLayer, fixtures, labels, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('emotion model');
const keep = keeper(test);
const voice = join(fixtures, 'audio', 'voice.wav');
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-predictor-'));
  await writeTinyPredictor(join(dir, 'base'));
  await writeTinyPredictor(join(dir, 'large'), { form: 'large', clusters: false });
});
test.after(() => rm(dir, { recursive: true, force: true }));

const sum = (values) => values.reduce((total, value) => total + value, 0);
const near = (actual, expected, tolerance) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

for (const form of ['base', 'large']) {
  test(`${form}: probabilities and posteriors sum to 1, attention too, and frames are 20 ms apart`, async () => {
    const model = keep(await EmotionModel.load(join(dir, form)));
    assert.equal(model.labels, labels);
    assert.is(model.batchSeconds, 30);
    const result = await model.predict(voice);
    assert.is(result.id, 'voice');
    assert.equal(Object.keys(result.probabilities), labels);
    near(sum(Object.values(result.probabilities)), 1, 1e-6);
    const best = Math.max(...Object.values(result.probabilities));
    assert.is(result.probabilities[result.label], best);
    assert.is(result.frames.length, 59);
    near(sum(result.frames.map(({ attention }) => attention)), 1, 1e-5);
    for (const [i, frame] of result.frames.entries()) {
      near(sum(frame.posterior), 1, 1e-5);
      near(frame.time, 0.0125 + 0.02 * i, 1e-9);
    }
    near(result.seconds, 19200 / 16000, 0.01);
  });
}

test('a calibrated model weighs its logits by one over the temperature: in one pass, by windows and streamed; frames stay', async () => {
  const temperature = 2.5;
  const calibrated = await writeTinyPredictor(join(dir, 'calibrated'), {
    form: 'large',
    clusters: false,
    calibration: { classifier: 1 / temperature },
  });
  const model = keep(await EmotionModel.load(calibrated));
  const plain = keep(await EmotionModel.load(join(dir, 'large')));
  const windows = { windowSeconds: 0.8, overlapSeconds: 0.2 };
  for (const options of [{}, windows]) {
    const [found, without] = [await model.predict(voice, options), await plain.predict(voice, options)];
    const powers = Object.values(without.probabilities).map((probability) => probability ** (1 / temperature));
    for (const [i, label] of labels.entries()) near(found.probabilities[label], powers[i] / sum(powers), 1e-6);
    assert.is(found.label, without.label);
    assert.equal(found.columns, without.columns);
  }
  let last;
  for await (const chunk of model.stream(voice, windows)) last = chunk.soFar;
  const { probabilities } = await model.predict(voice, windows);
  for (const label of labels) near(last.probabilities[label], probabilities[label], 1e-6);
});

test('segments follow the smoothed posteriors, cover the utterance, and a high cost leaves one', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'large')));
  const rough = await model.predict(voice, { switchingCost: 0 });
  assert.ok(rough.segments.length > 1, 'the test needs a timeline that changes');
  assert.is(rough.segments[0].start, 0);
  near(rough.segments.at(-1).end, rough.seconds, 1e-4);
  for (const [i, segment] of rough.segments.entries()) {
    if (i > 0) assert.is(segment.start, rough.segments[i - 1].end);
    const inside = rough.frames.filter(({ time }) => time > segment.start && time < segment.end);
    for (const { posterior } of inside) assert.is(labels[posterior.indexOf(Math.max(...posterior))], segment.label);
    const confidence = sum(inside.map(({ posterior }) => posterior[labels.indexOf(segment.label)])) / inside.length;
    near(segment.confidence, confidence, 1e-6);
  }
  assert.is((await model.predict(voice, { switchingCost: 1000 })).segments.length, 1);
});

test('frames and segments are made once, when they are read, and follow from the columns', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const [prediction, other] = await collect(model.predictMany([voice, voice]));
  const { posteriors, attention, clusters } = prediction.columns;
  assert.is(prediction.frames, prediction.frames);
  assert.is(prediction.segments, prediction.segments);
  assert.equal(
    prediction.frames.flatMap(({ posterior }) => posterior),
    [...posteriors],
  );
  assert.equal(
    prediction.frames.map((frame) => frame.attention),
    [...attention],
  );
  assert.equal(
    prediction.frames.map(({ cluster }) => cluster),
    [...clusters],
  );
  // Plain data to whoever lists, copies, compares or writes it; an utterance does not hold its batch's memory.
  const keys = ['id', 'label', 'probabilities', 'seconds', 'frameSeconds', 'frames', 'segments', 'windows'];
  assert.equal(Object.keys(prediction), keys);
  assert.equal(JSON.parse(JSON.stringify(prediction)), { ...prediction });
  assert.equal(structuredClone(prediction), { ...prediction });
  assert.is.not(posteriors.buffer, other.columns.posteriors.buffer);
  assert.is(posteriors.buffer.byteLength, posteriors.byteLength);
});

test('a frame has the cluster of the nearest centroid at the clustered layer', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const encoder = keep(await Encoder.load(join(dir, 'base', 'clusters')));
  const { tensors } = await readSafetensors(join(dir, 'base', 'clusters', 'centroids.safetensors'));
  const centroids = tensors.get('centroids').data;
  const { frames } = await model.predict(voice);
  const { hidden, dimension } = await encoder.encode(voice, { layer: clusterLayer });
  for (const [i, { cluster }] of frames.entries()) {
    const distances = Array.from({ length: centroidCount }, (_, k) =>
      sum(Array.from({ length: dimension }, (_, d) => (hidden[i * dimension + d] - centroids[k * dimension + d]) ** 2)),
    );
    assert.is(cluster, distances.indexOf(Math.min(...distances)), `frame ${i}`);
  }
});

test('clusters are left out on request, and where there are none', async () => {
  for (const [form, options] of [
    ['base', { clusters: false }],
    ['large', {}],
  ]) {
    const model = keep(await EmotionModel.load(join(dir, form), options));
    assert.not.ok('cluster' in (await model.predict(voice)).frames[0]);
  }
});

const audio = (name) => join(fixtures, 'audio', name);
const files = ['voice.wav', 'stereo48k.flac', 'float32.wav', 'voice.flac', 'voice.wav'].map(audio);
const collect = async (results) => {
  const found = [];
  for await (const result of results) found.push(result);
  return found;
};

/** Equal but for the last digits of numbers, as the arithmetic of another batch rounds them. */
function alike(found, expected, tolerance = 1e-5) {
  if (typeof expected === 'number') {
    if (Number.isInteger(expected)) assert.is(found, expected);
    else near(found, expected, tolerance);
  } else if (typeof expected === 'object' && expected !== null) {
    assert.equal(Object.keys(found), Object.keys(expected));
    for (const key of Object.keys(expected)) alike(found[key], expected[key], tolerance);
  } else assert.is(found, expected);
}

test('many files give, in order, what each gives alone: to the bit one by one, within rounding in batches', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const alone = [];
  for (const file of files) alone.push(await model.predict(file));
  assert.equal(await collect(model.predictMany(files, { batchSeconds: 0 })), alone);
  for (const batchSeconds of [1.5, 2.5, 100]) {
    const found = await collect(model.predictMany(files, { batchSeconds }));
    alike(found, alone);
    assert.equal(await collect(model.predictMany(files, { batchSeconds })), found, 'and the same bits every time');
  }
});

test('batches are filled by seconds and never wait on an asynchronous source unless asked to', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const given = [];
  async function* slowly() {
    for (const [i, file] of files.slice(0, 3).entries()) {
      // The next file comes only when the answer to the last is there.
      while (given.length < i) await new Promise((resolve) => setTimeout(resolve, 5));
      yield file;
    }
  }
  for await (const { id } of model.predictMany(slowly())) given.push(id);
  assert.equal(given, ['voice', 'stereo48k', 'float32']);
});

test('inputs may have names; without one a file has its own, and anything else its number', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const samples = await loadAudio(voice);
  const found = await collect(model.predictMany([voice, samples, { id: 'call 7', audio: voice }]));
  assert.equal(
    found.map(({ id }) => id),
    ['voice', '1', 'call 7'],
  );
});

test('a bad file ends the iteration with its name, or is yielded in its place while the others go on', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const missing = join(dir, 'missing.wav');
  const short = join(dir, 'too-short.wav');
  writeWav(short, new Float32Array(399).fill(0.1));
  const loud = new Float32Array(16000).fill(1e30);
  const inputs = [voice, missing, short, voice, { id: 'loud', audio: loud }, voice];
  const seen = [];
  await refused(
    (async () => {
      for await (const { id } of model.predictMany(inputs)) seen.push(id);
    })(),
    'ERR_FILE_NOT_FOUND',
    /missing\.wav/,
  );
  assert.equal(seen, ['voice']);
  const found = await collect(model.predictMany(inputs, { onError: 'yield' }));
  assert.equal(
    found.map((result) => ('error' in result ? [result.id, result.error.code] : result.id)),
    [
      'voice',
      ['missing', 'ERR_FILE_NOT_FOUND'],
      ['too-short', 'ERR_AUDIO_SHORT'],
      'voice',
      ['loud', 'ERR_NOT_FINITE'],
      'voice',
    ],
  );
  alike(found[5], await model.predict(voice));
});

test('an iteration that is left takes no more from its source, and what the source throws is thrown', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  let taken = 0;
  let closed = false;
  function* endless() {
    try {
      for (;;) {
        taken++;
        yield voice;
      }
    } finally {
      closed = true;
    }
  }
  let count = 0;
  for await (const _ of model.predictMany(endless(), { batchSeconds: 2 })) if (++count === 5) break;
  assert.ok(closed);
  const before = taken;
  assert.ok(taken < 5 + 64 + 3, `${taken} inputs were taken for 5 results`);
  await model.predict(voice);
  assert.is(taken, before);
  function* broken() {
    yield voice;
    throw new RangeError('no more rows');
  }
  const error = await collect(model.predictMany(broken())).catch((reason) => reason);
  assert.instance(error, RangeError);
});

test('of two batches in flight each fails by itself', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const loud = { id: 'loud', audio: new Float32Array(16000).fill(1e30).map((level, i) => (i % 2 ? level : -level)) };
  const inputs = [voice, loud, voice, voice, loud, loud, voice];
  const alone = await model.predict(voice);
  for (const batchSeconds of [0, 2.3, 100]) {
    const found = await collect(model.predictMany(inputs, { batchSeconds, onError: 'yield' }));
    for (const [i, result] of found.entries()) {
      if (inputs[i] === loud) assert.equal([result.id, result.error?.code], ['loud', 'ERR_NOT_FINITE']);
      else alike(result, alone);
    }
    assert.is(found.length, inputs.length);
    const seen = [];
    const running = (async () => {
      for await (const { id } of model.predictMany(inputs.slice(2), { batchSeconds })) seen.push(id);
    })();
    await refused(running, 'ERR_NOT_FINITE', /loud/);
    assert.equal(seen, ['voice', 'voice']);
  }
});

test('an abort and disposal end the iteration even where failures are yielded', async () => {
  const model = await EmotionModel.load(join(dir, 'base'));
  const controller = new AbortController();
  const seen = [];
  const iterating = async (options, act) => {
    for await (const result of model.predictMany(files, { onError: 'yield', batchSeconds: 0, ...options })) {
      seen.push(result);
      await act();
    }
  };
  await refused(
    iterating({ signal: controller.signal }, () => controller.abort()),
    'ERR_ABORTED',
    /stopped/,
  );
  await refused(
    iterating({}, () => model.dispose()),
    'ERR_DISPOSED',
    /./,
  );
  assert.is(seen.filter((result) => 'error' in result).length, 0);
});

test('failures that come fast are not piled up either', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  let taken = 0;
  function* missing() {
    for (; taken < 1000; taken++) yield join(dir, `${taken}.wav`);
  }
  for await (const { error } of model.predictMany(missing(), { onError: 'yield' })) {
    assert.is(error.code, 'ERR_FILE_NOT_FOUND');
    await new Promise((resolve) => setTimeout(resolve, 200));
    break;
  }
  assert.ok(taken <= 66, `${taken} files were tried for one result`);
});

test('an abort ends the wait for a source that hangs', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const controller = new AbortController();
  async function* hanging() {
    await new Promise(() => {});
  }
  const waiting = collect(model.predictMany(hanging(), { signal: controller.signal }));
  setTimeout(() => controller.abort(), 20);
  await refused(waiting, 'ERR_ABORTED', /stopped/);
});

test('samples give what their file gives, under the given name', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const samples = await loadAudio(voice);
  assert.equal(await model.predict(samples, { id: 'voice' }), await model.predict(voice));
});

test('audio that is too short is an error with its file, in a row of files too', async () => {
  const short = join(dir, 'short.wav');
  writeWav(short, new Float32Array(399).fill(0.1));
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  await refused(() => model.predict(short), 'ERR_AUDIO_SHORT', short);
  const seen = [];
  await refused(
    async () => {
      for await (const { id } of model.predictMany([voice, short, voice])) seen.push(id);
    },
    'ERR_AUDIO_SHORT',
    short,
  );
  assert.equal(seen, ['voice']);
});

test('a directory without a classifier says what to do, and names a run’s predictor when it sees one', async () => {
  await refused(() => EmotionModel.load(join(fixtures, 'checkpoints', 'base')), 'ERR_HEAD', 'emoframe run');
});

test('wrong options say what was expected and received', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  for (const [options, pattern] of [
    [{ switchingCost: -1 }, /at least 0 for switchingCost but received -1 of type number/],
    [{ switchingCosts: 1 }, /no option 'switchingCosts'/],
    [{ signal: 'soon' }, /Expected an AbortSignal for signal/],
    [{ windowSeconds: 0 }, /windowSeconds/],
    [{ windowSeconds: 4, overlapSeconds: 2 }, /twice overlapSeconds but received 4 and 2/],
    [{ format: { encoding: 's8', sampleRate: 8000, channels: 1 } }, /'s16le', 'f32le' for format\.encoding/],
    [{ onProgress: true }, /Expected a function for onProgress/],
  ])
    await refused(model.predict(voice, options), 'ERR_ARGUMENT', pattern);
  await refused(collect(model.predictMany(voice)), 'ERR_ARGUMENT', /iterable of audio/);
  await refused(collect(model.predictMany(new Float32Array(800))), 'ERR_ARGUMENT', /one audio/);
  await refused(collect(model.predictMany([voice], { onError: 'skip' })), 'ERR_ARGUMENT', /'throw', 'yield'/);
  await refused(collect(model.stream(voice, { normalizeBy: 'file' })), 'ERR_ARGUMENT', /'whole', 'window'/);
  await refused(EmotionModel.load(join(dir, 'base'), { precision: 'fp64' }), 'ERR_ARGUMENT', /'fp32', 'tf32', 'bf16'/);
  const advice = /cpu computes in fp32 or bf16, but not in tf32.*precision fp32.*cuda:N/;
  await refused(EmotionModel.load(join(dir, 'base'), { precision: 'tf32' }), 'ERR_DEVICE_UNSUPPORTED', advice);
  await refused(EmotionModel.load(join(dir, 'base'), { device: 'cuda:x' }), 'ERR_DEVICE', /cpu/);
});

test('a stopped call and use after dispose are errors, and dispose may be called again', async () => {
  const model = await EmotionModel.load(join(dir, 'base'));
  await refused(model.predict(voice, { signal: AbortSignal.abort() }), 'ERR_ABORTED', /stopped/);
  const running = refused(model.predict(voice), 'ERR_DISPOSED', /./);
  await model.dispose();
  await model.dispose();
  await running;
  await refused(model.predict(new Float32Array(16000)), 'ERR_DISPOSED', /load it again/);
  await refused(collect(model.predictMany([voice])), 'ERR_DISPOSED', /load it again/);
  await refused(collect(model.stream(voice)), 'ERR_DISPOSED', /load it again/);
});

test('calls may overlap', async () => {
  const model = keep(await EmotionModel.load(join(dir, 'base')));
  const alone = await model.predict(voice);
  const found = await Promise.all([
    ...Array.from({ length: 6 }, () => model.predict(voice)),
    collect(model.predictMany([voice], { batchSeconds: 0 })).then(([one]) => one),
  ]);
  for (const one of found) assert.equal(one, alone);
});

test.run();
