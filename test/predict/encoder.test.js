import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Encoder, loadAudio, readNpy } from '../../dist/index.js';
import { relativeError } from '../support/golden.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { fixtures } from '../support/tinyPredictor.js';

const test = suite('encoder');
const keep = keeper(test);
const voice = join(fixtures, 'audio', 'voice.wav');
const model = (form) => join(fixtures, 'encode', form);

for (const form of ['base', 'large']) {
  test(`every hidden state of the ${form} form is that of transformers, input normalised as its directory says`, async () => {
    const { data, shape } = await readNpy(join(fixtures, 'encode', `${form}.npy`));
    const [states, frames, dimension] = shape;
    const encoder = keep(await Encoder.load(model(form)));
    assert.is(encoder.layers, states - 2);
    for (let layer = 0; layer < states; layer++) {
      const found = await encoder.encode(voice, layer === states - 1 ? {} : { layer });
      assert.equal([found.frames, found.dimension], [frames, dimension]);
      const expected = data.subarray(layer * frames * dimension, (layer + 1) * frames * dimension);
      const error = relativeError(found.hidden, expected);
      assert.ok(error < 1e-4, `layer ${layer}: relative error ${error}`);
    }
  });
}

test('in the post-norm form the output is the last layer, and samples give what their file gives', async () => {
  const encoder = keep(await Encoder.load(model('base')));
  const fromFile = await encoder.encode(voice);
  const fromSamples = await encoder.encode(await loadAudio(voice), { layer: encoder.layers });
  assert.equal(fromFile.hidden, fromSamples.hidden);
});

test('a layer that is not there, audio that is too short and a stopped call are errors', async () => {
  const encoder = keep(await Encoder.load(model('base')));
  await refused(() => encoder.encode(voice, { layer: 3 }), 'ERR_ARGUMENT', 'layer');
  await refused(() => encoder.encode(new Float32Array(399)), 'ERR_AUDIO_SHORT', '400');
  assert.is((await encoder.encode(new Float32Array(400))).frames, 1);
  await refused(() => encoder.encode(voice, { signal: AbortSignal.abort() }), 'ERR_ABORTED', 'stopped');
});

test('a directory without a model is an error with its name', async () => {
  await refused(() => Encoder.load('/nowhere/model'), 'ERR_FILE_NOT_FOUND', '/nowhere/model');
});

test('the mask embedding may be missing, as transformers leaves it out of some models', async () => {
  const { mkdtemp, rm, cp } = await import('node:fs/promises');
  const { tmpdir } = await import('node:os');
  const { readSafetensors, writeSafetensors } = await import('../../dist/checkpoint/safetensors.js');
  const dir = await mkdtemp(join(tmpdir(), 'emoframe-encoder-'));
  try {
    await cp(model('base'), dir, { recursive: true });
    const file = join(dir, 'model.safetensors');
    const { tensors } = await readSafetensors(file);
    assert.ok(tensors.delete('masked_spec_embed'));
    await writeSafetensors(file, [...tensors.values()]);
    assert.ok(readFileSync(file).length > 0);
    const encoder = keep(await Encoder.load(dir));
    const whole = keep(await Encoder.load(model('base')));
    assert.equal((await encoder.encode(voice)).hidden, (await whole.encode(voice)).hidden);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test.run();
