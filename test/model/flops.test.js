// How many operations training takes, beside PyTorch's count of them (scripts/oracle/flops.py).
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadPretrained } from '../../dist/checkpoint/pretrained.js';
import { Engine } from '../../dist/model/engine.js';
import { trainingFlops } from '../../dist/model/flops.js';
import { parseHubertConfig } from '../../dist/model/hubertConfig.js';
import { CLASSES, CLUSTERS, DIMENSION, FIXTURES, readData } from '../support/parity.js';

const test = suite('operations of training');
const engine = Engine.create({ device: 'cpu', threads: 1 });
test.after(() => engine.dispose());
const { utterances, mask } = await readData();

/** What scripts/oracle/alignment.py made its networks with. */
const alignmentOf = (form, source) => ({
  classes: 4,
  neutral: 2,
  source,
  layer: { hidden: { base: 2, large: 'output' }, layers: { base: 2, large: 1 } }[source]?.[form] ?? 0,
  melBands: { features: { large: 40 }, hidden: { base: 24 }, layers: { base: 40 } }[source][form] ?? 0,
  chunkFrames: 10,
  contextFrames: 4,
  width: 10,
  halfWidths: [3, 1],
  dropout: 0,
  scale: 0.05,
  switchingCost: 1.5,
});

function specOf(config, { form, objective, source }) {
  const spec = { config, precision: 'fp32' };
  if (source) return { ...spec, alignment: alignmentOf(form, source) };
  if (objective === 'masked-prediction')
    return { ...spec, maskedPrediction: { clusters: CLUSTERS, dimension: DIMENSION } };
  return { ...spec, classifier: { classes: CLASSES, pooling: objective } };
}

for (const golden of JSON.parse(await readFile(join(FIXTURES, 'flops.json'), 'utf8'))) {
  const { form, objective, source, stored, frozen, flops } = golden;
  const what = `${form}, ${objective}${source ? ` of ${source}` : ''}`;
  test(`${what}${stored ? ' on stored features' : ''}, frozen: ${frozen.length}: as many as PyTorch counts`, async () => {
    const { config } = await loadPretrained(join(FIXTURES, form));
    const model = await engine.createModel(specOf(config, golden));
    model.freeze(frozen);
    const found = trainingFlops(model.spec, {
      objective: ['masked-prediction', 'alignment'].includes(objective) ? objective : 'classification',
      dropout: false,
      ...(objective === 'masked-prediction' && { mask }),
      lengths: utterances.map((samples) => model.geometry.frames(samples.length)),
      stored,
      trains: (prefix) => model.trains(prefix),
    });
    model.dispose();
    assert.is(found, flops);
  });
}

const base = { config: parseHubertConfig({ layerdrop: 0 }), precision: 'bf16' };
const classifier = { ...base, classifier: { classes: 4, pooling: 'attention' } };
const flopsOf = (spec, options) =>
  trainingFlops(spec, {
    objective: 'classification',
    dropout: true,
    lengths: [499],
    stored: true,
    trains: (prefix) => !prefix.startsWith('feature_extractor.'),
    ...options,
  });

test('HuBERT-base on stored features takes six operations a weight and frame, and those of attention', () => {
  // Weights of the layers, of the positional convolution and of the projection.
  const weights = 12 * (4 * 768 ** 2 + 2 * 768 * 3072) + 768 * 48 * 128 + 512 * 768;
  const attention = 12 * 12 * 768 * 499 ** 2;
  const logits = 6 * 768 * 4;
  assert.is(flopsOf(classifier), 6 * weights * 499 + attention + logits);
});

test('attention is of each utterance apart, all else of their frames together', () => {
  const one = flopsOf(classifier, { lengths: [400] });
  const two = flopsOf(classifier, { lengths: [200, 200] });
  const attention = (frames) => 12 * 12 * 768 * frames ** 2;
  const logits = 6 * 768 * 4;
  assert.is(one - two, attention(400) - 2 * attention(200) - logits);
});

test('a frozen model is run forward alone, and what is frozen in the middle passes gradients on', () => {
  const all = flopsOf(classifier);
  const none = flopsOf(classifier, { trains: () => false });
  assert.is(3 * none, all);
  const middle = flopsOf(classifier, {
    trains: (prefix) => !prefix.startsWith('feature_extractor.') && !prefix.startsWith('encoder.layers.5.'),
  });
  assert.is(all - middle, 2 * 499 * (4 * 768 ** 2 + 2 * 768 * 3072));
});

test('layers count by the share of passes in which layerdrop keeps them, where there is dropout', () => {
  const dropping = { ...classifier, config: parseHubertConfig({ layerdrop: 0.25 }) };
  const layers =
    flopsOf(classifier) -
    flopsOf({ ...classifier, config: parseHubertConfig({ num_hidden_layers: 1 }) }, { dropout: false });
  assert.is(flopsOf(dropping, { dropout: false }), flopsOf(classifier));
  assert.is(Math.round(flopsOf(classifier) - flopsOf(dropping)), Math.round(((layers * 12) / 11) * 0.25));
});

const all = { objective: 'classification', dropout: false, lengths: [30, 12], stored: true, trains: () => true };
const countedFlops = (raw) =>
  trainingFlops({ config: parseHubertConfig(raw), classifier: { classes: 4, pooling: 'mean' } }, all);
const sizes = { hidden_size: 32, num_hidden_layers: 3, num_attention_heads: 4, intermediate_size: 48 };

test("WavLM's gates are a product of 8 outputs with each head's part of what attention reads", () => {
  const products = 2 * 42 * 32 * 8 * 3; // of so many frames and layers
  assert.is(countedFlops({ ...sizes, model_type: 'wavlm' }) - countedFlops(sizes), 3 * products);
});

test('tokens of emotion2vec are rows of every layer, but not of the positional convolutions', () => {
  const raw = { ...sizes, model_type: 'emotion2vec', feat_extract_norm: 'layer', num_conv_pos_embedding_groups: 4 };
  const [rows, wider] = [2 * 10, 40 ** 2 + 22 ** 2 - 30 ** 2 - 12 ** 2];
  const layer = 2 * rows * (4 * 32 ** 2 + 2 * 32 * 48) + 4 * 32 * wider;
  assert.is(countedFlops(raw) - countedFlops({ ...raw, extra_tokens: 0 }), 3 * 3 * layer);
  const stack = countedFlops(raw) - countedFlops({ ...raw, positional_depth: 3 });
  assert.is(stack, 2 * 3 * (2 * 42 * 32 * 8 * 19));
});

test('of a head count the products of each frame before pooling, and of each utterance behind it', () => {
  const head = { classes: 3, source: 'layers', projector: 64, pooling: 'attentive-stats', bias: false };
  const whole = { ...head, dense: [{ width: 32, norm: true, activation: 'relu' }], frames: { window: 50, hop: 5 } };
  const lengths = [400, 99];
  const frames = 2 * 499 * (768 * 64 + 64 * 64);
  const rows = 2 * 2 * (128 * 32 + 32 * 3);
  const [none, all] = [undefined, whole].map((its) => flopsOf({ ...base, classifier: its }, { lengths }));
  assert.is(all - none, 3 * (frames + rows));
  const frozen = ['projector.', 'pooling.linear.'];
  const trains = (prefix) => !prefix.startsWith('feature_extractor.') && !frozen.includes(prefix);
  assert.is(flopsOf({ ...base, classifier: whole }, { lengths, trains }) - none, 2 * frames + 3 * rows);
});

test.run();
