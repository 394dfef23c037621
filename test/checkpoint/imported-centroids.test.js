// Stage 1a from what people have: a checkpoint of fairseq, and the k-means model that scikit-learn fitted for it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  Encoder,
  loadPretrained,
  parseConfig,
  readCorpus,
  readNpy,
  readSafetensors,
  Trainer,
  writeNpy,
} from '../../dist/index.js';
import { refused } from '../support/refused.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';
import { fixtures } from '../support/tinyPredictor.js';

const test = suite('imported centroids');
const layer = 2;
const modelDir = join(fixtures, 'kinds', 'hubert_fairseq.pt');
let scratch;
let corpus;
test.before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-centroids-'));
  corpus = await readCorpus(writeTinyCorpus(join(scratch, 'corpus')));
});
test.after(() => rmSync(scratch, { recursive: true, force: true }));

async function tapt(out, centroids) {
  const { model: _, ...settings } = tinyConfig;
  const config = parseConfig({ ...settings, tapt: { ...settings.tapt, layer, centroids } });
  const trainer = await Trainer.open({ corpus, modelDir, out, config, threads: 1 });
  try {
    await trainer.tapt({ folds: ['s3'] });
  } finally {
    await trainer.dispose();
  }
}

test('frames get the nearest centroid of a k-means model of scikit-learn, and the model learns as many clusters', async () => {
  const out = join(scratch, 'run');
  await tapt(out, join(fixtures, 'kinds', 'kmeans', 'mini.bin'));
  const stage = join(out, 'folds', 's3', 'tapt');
  const { tensors: labels } = await readSafetensors(join(stage, 'labels.safetensors'));
  const { data: centroids, shape } = await readNpy(join(fixtures, 'kinds', 'kmeans', 'mini.npy'));
  const [clusters, width] = shape;
  const encoder = await Encoder.load(modelDir, { threads: 1 });
  const nearest = (row) => {
    const distance = (k) => row.reduce((sum, value, i) => sum + (value - centroids[k * width + i]) ** 2, 0);
    const all = Array.from({ length: clusters }, (_, k) => distance(k));
    return all.indexOf(Math.min(...all));
  };
  let compared = 0;
  for (const { id, audio } of corpus.utterances.filter(({ id }) => labels.has(id)).slice(0, 4)) {
    const { hidden, frames } = await encoder.encode(audio, { layer });
    assert.equal(
      [...labels.get(id).data],
      Array.from({ length: frames }, (_, t) => nearest(hidden.subarray(t * width, (t + 1) * width))),
    );
    compared += frames;
  }
  await encoder.dispose();
  assert.ok(compared > 100, `${compared} frames`);
  const { head } = await loadPretrained(join(stage, 'model'));
  assert.equal(head.tensors.find(({ name }) => name === 'label_embs_concat').shape[0], clusters);
});

test('centroids of another width, or that are none, are refused', async () => {
  const narrow = join(scratch, 'narrow.npy');
  // Of a width that divides the model's own.
  await writeNpy(narrow, new Float32Array(32), [4, 8]);
  const error = await refused(tapt(join(scratch, 'narrow'), narrow), 'ERR_TENSOR', /8 columns where .* have 16/);
  assert.is(error.file, narrow);
  const none = join(fixtures, 'kinds', 'kmeans', 'unfitted.bin');
  await refused(tapt(join(scratch, 'none'), none), 'ERR_CHECKPOINT', /no cluster_centers_/);
});

test.run();
