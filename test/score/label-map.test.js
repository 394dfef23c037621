import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mapDimensions, mapLabels } from '../../dist/score/labelMap.js';
import { refused } from '../support/refused.js';

test('labels of one emotion are brought together, and the rest is named', () => {
  assert.equal(
    mapLabels(['ang', 'hap', 'neu', 'oth'], ['<unk>', '生气/angry', '开心/happy', '中立/neutral', '恐惧/fearful']),
    {
      classes: { ang: ['生气/angry'], hap: ['开心/happy'], neu: ['中立/neutral'] },
      unknownToModel: ['oth'],
      unknownToCorpus: ['<unk>', '恐惧/fearful'],
    },
  );
});

test('equal names come before emotions, and a stated map before both', () => {
  const { classes } = mapLabels(['anger', 'joy', 'calm'], ['anger', 'happy', 'excited', 'calm'], {
    excited: 'joy',
    happy: 'calm',
  });
  assert.equal(classes, { anger: ['anger'], joy: ['excited'], calm: ['happy', 'calm'] });
});

test('several labels of a model may be one of the corpus', () => {
  const { classes } = mapLabels(['happy', 'sad'], ['joy', 'amused', 'sadness']);
  assert.equal(classes, { happy: ['joy', 'amused'], sad: ['sadness'] });
});

test('what cannot be scored is refused by name', async () => {
  await refused(async () => mapLabels(['ang', 'hap'], ['LABEL_0', 'LABEL_1']), 'ERR_CORPUS', /LABEL_0, LABEL_1.*map/);
  await refused(
    async () => mapLabels(['hap', 'joy', 'sad'], ['happy', 'sad']),
    'ERR_CORPUS',
    /hap and joy.*hap=hap\+joy/,
  );
  await refused(
    async () => mapLabels(['ang', 'sad'], ['angry', 'sad'], { anger: 'ang' }),
    'ERR_ARGUMENT',
    /model.*anger/,
  );
  await refused(
    async () => mapLabels(['ang', 'sad'], ['angry', 'sad'], { angry: 'mad' }),
    'ERR_ARGUMENT',
    /corpus.*mad/,
  );
});

test('dimensions of one meaning are brought together', async () => {
  assert.equal(mapDimensions(['arousal', 'dominance', 'valence'], ['Activation', 'valence']), {
    arousal: 'Activation',
    valence: 'valence',
  });
  assert.equal(mapDimensions(['arousal', 'tension'], ['arousal', 'energy'], { energy: 'tension' }), {
    tension: 'energy',
    arousal: 'arousal',
  });
  await refused(async () => mapDimensions(['arousal'], ['arousal'], { a: 'arousal' }), 'ERR_ARGUMENT', /model.*a/);
});

test.run();
