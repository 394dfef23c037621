// Every stage on encoders of other families than HuBERT's, from models as they are published to predictors that predict.
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, loadPretrained, parseConfig, readCorpus, Trainer } from '../../dist/index.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';

const test = suite('stages on other families');
const families = fileURLToPath(new URL('../fixtures/families/', import.meta.url));
let dir;
let corpus;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-families-'));
  corpus = await readCorpus(writeTinyCorpus(join(dir, 'corpus')));
});
test.after(() => rm(dir, { recursive: true, force: true }));

const runs = {
  wavlm_large: { source: 'hidden', layer: 1 },
  emotion2vec: { source: 'layers', layer: 2 },
};
for (const [name, align] of Object.entries(runs)) {
  test(`${name} goes through every stage, is resumed with the same bits, and its predictor predicts`, async () => {
    const { model: _, mfcc: __, ...stages } = tinyConfig;
    const network = { ...align, epochs: 1, width: 8, chunkSeconds: 0.5 };
    const config = parseConfig({ ...stages, align: { ...tinyConfig.align, network } });
    const given = { corpus, config, modelDir: `${families}${name}`, threads: 1 };
    const call = { folds: ['s1'] };
    const whole = await Trainer.open({ ...given, out: join(dir, name) });
    const { folds } = await whole.run(call);
    assert.is(folds.length, 1);
    const predictor = whole.predictorDir('s1');
    await whole.dispose();

    const { config: saved, tensors, normalize } = await loadPretrained(predictor);
    const source = await loadPretrained(`${families}${name}`);
    assert.equal(saved.shape, source.config.shape);
    assert.equal(normalize, source.normalize);
    const family = { wavlm_large: ['wavlm', 'WavLMModel'], emotion2vec: ['emotion2vec', 'Emotion2vecModel'] }[name];
    assert.equal([saved.raw.model_type, ...saved.raw.architectures], family);
    // All that the families have of their own has been trained.
    const own = /rel_attn_embed|gru_rel_pos|alibi_scale|extra_tokens|pos_conv_embed\.layers/;
    for (const [tensor, { data }] of source.tensors) {
      if (own.test(tensor)) assert.not.equal(tensors.get(tensor).data, data, tensor);
    }

    const model = await EmotionModel.load(predictor, { threads: 1 });
    const { probabilities } = await model.predict(corpus.utterances[0].audio);
    assert.ok(Math.abs(Object.values(probabilities).reduce((sum, value) => sum + value) - 1) < 1e-5);
    await model.dispose();

    // Stopped after an epoch of fine-tuning, and gone on with.
    const stop = new AbortController();
    const parts = await Trainer.open({ ...given, out: join(dir, `${name}-resumed`) });
    const stopped = parts.run({
      ...call,
      signal: stop.signal,
      onProgress: ({ stage }) => stage === 'finetune' && stop.abort(),
    });
    assert.is(
      await stopped.then(
        () => 'ran',
        (error) => error.code,
      ),
      'ERR_ABORTED',
    );
    await parts.dispose();
    const resumed = await Trainer.open({ ...given, out: join(dir, `${name}-resumed`), resume: true });
    await resumed.run(call);
    const again = readFileSync(join(resumed.predictorDir('s1'), 'model.safetensors'));
    assert.ok(again.equals(readFileSync(join(predictor, 'model.safetensors'))), 'the same bits');
    await resumed.dispose();
  });
}

test.run();
