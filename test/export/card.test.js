// The model card of a model in a run, and the command line.
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { exportModel, parseConfig, readCorpus, Trainer } from '../../dist/index.js';
import { writeAlignedPredictor } from '../support/alignedPredictor.js';
import { emoframe } from '../support/cli.js';
import { heads, writeHeadPredictor } from '../support/headPredictor.js';
import { refused } from '../support/refused.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('export: model card and command line');
let dir;
let run;
let counter = 0;
test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-card-'));
  run = join(dir, 'run');
  const trainer = await Trainer.open({
    corpus: await readCorpus(writeTinyCorpus(join(dir, 'corpus'))),
    out: run,
    config: parseConfig(tinyConfig),
  });
  await trainer.run({ folds: ['s3'] });
  await trainer.dispose();
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

const fold = (...path) => join(run, 'folds', 's3', ...path);
const fresh = () => join(dir, `export${counter++}`);
const json = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'));

/** A card: its front matter and its text. */
function cardOf(out) {
  const text = readFileSync(join(out, 'README.md'), 'utf8');
  const [, front, body] = /^---\n(.*?)\n---\n\n(.*)$/s.exec(text);
  return { front: parse(front), body };
}
async function cardFor(model, options = {}) {
  const out = fresh();
  await exportModel(model, { format: 'hf', out, ...options });
  return cardOf(out);
}
const rounded = (value) => Number(value.toFixed(4));

test('scores of the run’s test session, of stage 4 and of stage 1b', async () => {
  const metrics = json(fold('evaluate', 'metrics.json'));
  for (const [model, scores] of [
    [fold('predictor'), metrics],
    [fold('timeline', 'model'), metrics],
    [fold('finetune', 'model'), metrics.baseline],
  ]) {
    const { front, body } = await cardFor(model, { name: 'tiny' });
    const [{ name, results }] = front['model-index'];
    assert.is(name, 'tiny');
    const [{ task, dataset, metrics: listed }] = results;
    assert.is(task.type, 'audio-classification');
    assert.is(dataset.name, json(run, 'corpus.json').name);
    assert.match(dataset.split, 's3');
    const values = Object.fromEntries(listed.map((metric) => [metric.name, metric.value]));
    assert.equal(values, {
      WA: rounded(scores.wa),
      UA: rounded(scores.ua),
      'Macro-F1': rounded(scores.macroF1),
      'Frame accuracy': rounded(scores.frameAccuracy),
      EDER: rounded(scores.eder),
      Lift: rounded(scores.lift),
    });
    const [low, high] = (model.includes('finetune') ? json(run, 'summary.json').baseline : json(run, 'summary.json'))
      .intervals.ua;
    assert.match(body, `${scores.ua.toFixed(3)} | ${scores.ua.toFixed(3)} \\[${low.toFixed(3)}, ${high.toFixed(3)}\\]`);
  }
});

test('the card of an alignment network: what it sees, how posteriors are made, what decides', async () => {
  const texts = async (options) => {
    const model = await writeAlignedPredictor(fresh(), options);
    return (await cardFor(model)).body.replaceAll('\n', ' ');
  };
  const convolutions = await texts({ form: 'large' });
  assert.match(convolutions, '3 convolutions (9, 1, 17 frames, width 12) over the output of the convolutional');
  // 4 + 0 + 8 frames of 20 ms.
  assert.match(convolutions, 'It sees at most 0.24 s before and after a frame');
  assert.match(convolutions, 'between frames of `neutral` (κ 0.3, 2.5 nats for a change)');
  assert.match(convolutions, 'Neither is calibrated.');
  assert.match(convolutions, 'Frames are pooled by `attention`.');
  const chunks = await texts({
    alignment: { source: 'layers', layer: 2, chunkFrames: 10, contextFrames: 5 },
    calibration: { classifier: 0.5, alignment: 2 },
  });
  assert.match(chunks, 'over a weighted sum of hidden states 0 to 2 of the transformer');
  assert.match(chunks, 'chunks of 0.2 s, each with 0.1 s more on either side');
  // And the 9 other frames of a chunk with its 5 of context.
  assert.match(chunks, 'It sees at most 0.52 s');
  assert.match(
    chunks,
    "classifier's logits times 0.5 and the network's times 2 decides the emotion of the utterance. The factors come from calibration.",
  );
  assert.match(convolutions, 'apart from normalisation over the utterance');
  const statistics = { waveform: { mean: 0, scale: 2 } };
  const local = await texts({ form: 'large', alignment: { statistics } });
  assert.match(local, 'before and after a frame; audio is normalised by statistics of the training audio');
  assert.match(local, 'sound = (torch.as_tensor(samples) - waveform["mean"])');
  const alone = await texts({ pooling: null });
  assert.match(alone, "The network's logits decide the emotion of the utterance.");
  assert.not.match(alone, 'pooled');
  assert.not.match(alone, 'log-mel');
  const banded = await texts({ form: 'large', alignment: { melBands: 40, statistics } });
  assert.match(banded, 'over 40 log-mel bands of the audio and the output of the convolutional');
  assert.match(banded, 'windowed = sound.double().unfold(0, 400, 320)');
  assert.match(await texts({ alignment: { melBands: 40 } }), 'windowed = input_values[0].double()');
  assert.not.match((await cardFor(fold('align', 'model'))).body, '## Timeline');
});

test('the card of a regression, and of every layer of a head', async () => {
  const textOf = async (head, options) => {
    const { body } = await cardFor(await writeHeadPredictor(fresh(), head), options);
    return body.replaceAll('\n', ' ');
  };
  const regression = await textOf(heads['attentive statistics, norm and relu']);
  assert.match(regression, 'that predicts arousal, dominance, valence of an utterance and of each of its frames');
  assert.match(regression, 'Dimensions, in the order of the outputs: `arousal`, `dominance`, `valence`.');
  assert.match(regression, 'Then comes a linear layer of width 16 with LayerNorm and relu.');
  assert.match(regression, 'A frame has the outputs of the head for the 50 frames around it, computed for every 5th.');
  assert.match(regression, 'values = dict(zip(labels, outputs.tolist()))');
  const layers = await textOf(heads['layers, a projector and the mean']);
  assert.match(layers, 'The head reads a weighted sum of all hidden states. Frames are projected to 12 values.');
  // No line of code for what the head does not have.
  assert.not.match(layers, /dense|pooling\.weight|middles/);
  const graph = await textOf(heads['a dense layer on the mean'], { format: 'onnx' });
  assert.match(graph, 'outputs, frame_values, attention = session.run');
  // How audio is brought to a model that no feature extractor of transformers serves.
  const brought = await textOf({ pooling: 'mean', normalize: { mean: 0.5, scale: 4 } });
  assert.match(brought, 'The model expects (x − 0.5) · 4 of each sample x.');
  assert.match(brought, 'input_values = (sound - 0.5) * 4');
  assert.not.match(brought, 'AutoFeatureExtractor');
  const epsilon = await textOf({ pooling: 'mean', normalize: { epsilon: 1e-5 } });
  assert.match(epsilon, 'torch.sqrt(sound.var(correction=0) + 0.00001)');
});

test('tensors are not left out without a word, and a head of speech recognition is exported when it is asked for', async () => {
  const [source, out] = [join(fixtures, 'kinds', 'hubert_fairseq_ctc.pt'), fresh()];
  const { ignored } = await exportModel(source, { format: 'onnx', out });
  assert.equal(ignored, ['w2v_encoder.proj.weight']);
  const { body } = cardOf(out);
  assert.match(body, 'Tensors of the checkpoint that are not part of this export: `w2v_encoder.proj.weight`.');
  const { stdout } = await emoframe(['export', source, '--format', 'hf', '--out', fresh()]);
  assert.match(stdout, 'not exported: w2v_encoder.proj.weight');
  const at = fresh();
  const recogniser = join(fixtures, 'forms', 'ctc');
  const asked = await emoframe(['export', recogniser, '--format', 'onnx', '--out', at, '--head', 'ctc-mean']);
  assert.is(asked.code, 0, asked.stderr);
  assert.not.match(asked.stdout, 'not exported');
  assert.match(cardOf(at).body, 'Frames are pooled by `mean`.');
});

test('the objective of stage 4 is stated where a run records it', async () => {
  const bodyIn = async (of, ...path) => (await cardFor(join(of, 'folds', 's3', ...path))).body;
  const forwardBackward =
    /trained by emoframe [\d.]+, objective `both` \(stage 4, second part: the alignment network, [\w ]+\)\./;
  assert.match(await bodyIn(run, 'predictor'), forwardBackward);
  assert.match(await bodyIn(run, 'timeline', 'model'), forwardBackward);
  assert.not.match(await bodyIn(run, 'finetune', 'model'), ', objective');
  // Of before there was a choice: stage 4 had one part, which was evaluated.
  const earlier = join(dir, 'earlier');
  cpSync(run, earlier, { recursive: true });
  const { config, ...rest } = json(earlier, 'config.json');
  const { objective: _, ...align } = config.align;
  writeFileSync(join(earlier, 'config.json'), JSON.stringify({ ...rest, config: { ...config, align } }));
  for (const path of [['predictor'], ['align', 'model']]) {
    const body = await bodyIn(earlier, ...path);
    assert.match(body, /trained by emoframe [\d.]+ \(stage 4: fine-tuning with attention\)\. /);
    assert.not.match(body, 'has not evaluated this model');
  }
});

test('the data by part and label, and every setting, but no path of this machine', async () => {
  const { front, body } = await cardFor(fold('predictor'), { license: 'cc-by-4.0', baseModel: 'org/base' });
  assert.equal([front.license, front.base_model], ['cc-by-4.0', 'org/base']);
  const folds = json(run, 'folds.json').find(({ name }) => name === 's3');
  const labels = new Map(json(run, 'corpus.json').utterances.map(({ id, label }) => [id, label]));
  for (const [part, ids] of [
    ['training', folds.train],
    ['validation', folds.validation],
    ['held out', folds.test],
  ]) {
    const counts = ['angry', 'neutral'].map((label) => ids.filter((id) => labels.get(id) === label).length);
    assert.match(body, new RegExp(`\\| ${part} \\| ${ids.length} \\| \\d+ \\| ${counts.join(' \\| ')} \\|`));
  }
  assert.match(body, 'random weights');
  assert.match(body, '(inductive)');
  assert.not.match(body, 'were also in training');
  const [, settings] = /```json\n(.*?)\n```/s.exec(body);
  assert.equal(JSON.parse(settings), json(run, 'config.json').config);
  assert.not.match(JSON.stringify(front) + body, dir);
});

test('where a model comes from is not made up', async () => {
  const copy = join(dir, 'copy');
  cpSync(fold('predictor'), copy, { recursive: true });
  const { front, body } = await cardFor(copy);
  assert.not.ok('model-index' in front);
  assert.not.ok('license' in front);
  assert.match(body, 'its data and scores are not known');
  // A stage that is not evaluated has data and no scores, as the first part of stage 4 where a second follows.
  for (const stage of ['pretrain', 'align']) {
    const unscored = await cardFor(fold(stage, 'model'));
    assert.not.ok('model-index' in unscored.front);
    assert.match(unscored.body, 'has not evaluated this model');
  }
});

test('the dataset and its labels are named, and the model of the Hub that training started from', async () => {
  const changed = join(dir, 'changed');
  cpSync(run, changed, { recursive: true });
  const edit = (name, change) =>
    writeFileSync(join(changed, name), JSON.stringify({ ...json(changed, name), ...change }));
  const { utterances } = json(changed, 'corpus.json');
  edit('corpus.json', {
    utterances: utterances.map((utterance) => ({ ...utterance, speaker: utterance.speaker.replace('s3_a', 's2_a') })),
  });
  edit('corpus.json', { name: 'release', dataset: 'iemocap', labels: 'iemocap-4' });
  const commit = 'ba5e'.repeat(10);
  edit('config.json', { model: join(dir, 'hub', 'models--org--hubert-base', 'snapshots', commit) });
  const predictor = join(changed, 'folds', 's3', 'predictor');
  const { front, body } = await cardFor(predictor);
  assert.is(front.base_model, 'org/hubert-base');
  assert.match(body, 'Corpus `release` (the layout of `iemocap`, labels `iemocap-4`), fold `s3`');
  assert.match(body, 'Training started from `org/hubert-base`.');
  assert.match(body, 'Of the 2 speakers of the held-out part, 1 were also in training.');
  edit('config.json', { model: join(dir, 'models', 'my-hubert') });
  const local = await cardFor(predictor);
  assert.not.ok('base_model' in local.front);
  assert.match(local.body, 'Training started from `my-hubert`.');
  assert.is((await cardFor(predictor, { baseModel: 'org/other' })).front.base_model, 'org/other');
  // A model of the Hub that is exported as it is.
  const snapshot = join(dir, 'hub', 'models--org--emotions', 'snapshots', commit);
  await writeTinyPredictor(snapshot, { clusters: false });
  assert.is((await cardFor(snapshot)).front.base_model, 'org/emotions');
});

test('names from files stay words: neither front matter nor Markdown breaks', async () => {
  const labels = ['angry | sad', '# joy\n---\nlicense: stolen', '`code`', '<b>: "x"\u001b[2J'];
  const model = await writeTinyPredictor(join(dir, 'strange'), { clusters: false });
  const file = join(model, 'emoframe.json');
  writeFileSync(file, JSON.stringify({ ...json(file), labels }));
  const { front, body } = await cardFor(model, { name: 'x: "y"\n- z | **w**' });
  assert.not.ok('license' in front);
  assert.match(
    body,
    'outputs: <code>angry \\| sad</code>, `# joy --- license: stolen`, <code>\\`code\\`</code>, `<b>: "x"\\u001b[2J`.',
  );
  assert.match(body, '# x: "y" - z \\| \\*\\*w\\*\\*');
});

test('a damaged record is refused, not passed over', async () => {
  const spoilt = join(dir, 'spoilt');
  cpSync(run, spoilt, { recursive: true });
  writeFileSync(join(spoilt, 'folds.json'), '[{"name": "other", "train": [], "validation": [], "test": []}]');
  const model = join(spoilt, 'folds', 's3', 'predictor');
  await refused(exportModel(model, { format: 'hf', out: fresh() }), 'ERR_RUN_INCOMPLETE', /folds\.json .*no fold s3/);
  writeFileSync(join(spoilt, 'folds', 's3', 'align', 'model', 'config.json'), '{}');
  const stage = join(spoilt, 'folds', 's3', 'align', 'model');
  await refused(exportModel(stage, { format: 'hf', out: fresh() }), 'ERR_CHECKPOINT_DAMAGED', /config\.json/);
});

test('the command writes what the function does, and lists it', async () => {
  const [out, again] = [fresh(), fresh()];
  const { code, stdout, stderr } = await emoframe([
    'export',
    fold('predictor'),
    '--format',
    'onnx',
    '--out',
    out,
    '--json',
  ]);
  assert.is(code, 0, stderr);
  const reported = JSON.parse(stdout);
  assert.equal([reported.out, reported.format], [out, 'onnx']);
  assert.ok(reported.files.some(({ path, bytes }) => path === 'model.onnx' && bytes > 1000));
  const text = await emoframe([
    ...['export', fold('predictor'), '--format', 'hf', '--out', again, '--no-clusters'],
    ...['--name', 'mine', '--license', 'mit', '--base-model', 'org/base'],
  ]);
  assert.is(text.code, 0, text.stderr);
  assert.match(text.stdout, /model\.safetensors +\d/);
  assert.not.match(text.stdout, 'clusters');
  const { front, body } = cardOf(again);
  assert.equal([front.license, front.base_model], ['mit', 'org/base']);
  assert.match(body, /^# mine\n/);
});

test('bad usage and failures', async () => {
  const words = ['export', fold('predictor'), '--out', fresh()];
  for (const [more, message] of [
    [['--format', 'hf', '--external-data'], '--external-data needs --format onnx.'],
    [['--format', 'onnx', '--no-clusters'], '--no-clusters needs --format hf.'],
    [['--format', 'onnx', '--architecture', 'HubertModel'], '--architecture needs --format hf.'],
    [['--format', 'onnx', 'other'], 'Expected one model but received 2.'],
    [[], 'Expected --format hf|onnx but it is missing.'],
  ]) {
    const { code, stderr } = await emoframe([...words, ...more]);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
  }
  const pooled = await emoframe([...words, '--format', 'hf', '--architecture', 'HubertForSequenceClassification']);
  assert.is(pooled.code, 1);
  assert.match(pooled.stderr, /^emoframe: [^\n]*\(ERR_HEAD\)\n$/);
  assert.not.ok(existsSync(words[3]));
});

test('the example of the documentation', async () => {
  const example = fileURLToPath(new URL('../../examples/export-model.js', import.meta.url));
  const out = fresh();
  const { stdout } = await promisify(execFile)(process.execPath, [example, fold('predictor'), out]);
  assert.match(stdout, /^hf: .*model\.safetensors.*\nonnx: .*model\.onnx.*\n$/);
  assert.is(cardOf(join(out, 'onnx')).front.license, 'mit');
});

test.run();
