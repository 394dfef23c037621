import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { diarizationErrors } from '../../dist/index.js';
import { scoreRows } from '../../dist/run/scores.js';

const errors = (truth, predicted, seconds) => {
  const of = (list) => list.map(([start, end, label]) => ({ start, end, label }));
  return diarizationErrors(of(truth), of(predicted), 'n', seconds);
};
const near = (actual, expected) => assert.ok(Math.abs(actual - expected) < 1e-12, `${actual} is not ${expected}`);
const total = ({ missed, falseAlarm, confusion }) => missed + falseAlarm + confusion;

test('each kind of error has its seconds, to the ends of segments', () => {
  const found = errors(
    [
      [1, 3, 'sad'],
      [5, 6, 'ang'],
    ],
    [
      [0, 1.25, 'n'],
      [1.25, 2, 'sad'],
      [2, 3.5, 'ang'],
      [3.5, 8, 'n'],
    ],
    8,
  );
  near(found.missed, 0.25 + 1);
  near(found.falseAlarm, 0.5);
  near(found.confusion, 1);
});

test('it is the rate of speech emotion diarization', () => {
  // The case that SpeechBrain's own function documents: 0.2704918032786885.
  const found = errors(
    [[0.39, 1.1, 'a']],
    [
      [0, 0.6, 'n'],
      [0.6, 1.22, 'a'],
    ],
    1.22,
  );
  near(total(found) / 1.22, 0.2704918032786885);
});

test('all right is no error; no segments at all is neutral throughout; what lies outside is not counted', () => {
  near(total(errors([[0.5, 1, 'a']], [[0.5, 1, 'a']], 2)), 0);
  near(total(errors([], [[0, 2, 'n']], 2)), 0);
  near(errors([], [[0, 2, 'a']], 2).falseAlarm, 2);
  near(errors([[1, 2.01, 'a']], [], 2).missed, 1);
  const before = [
    [-4, -1, 'a'],
    [0, 1, 'a'],
  ];
  near(errors(before, [], 2).missed, 1);
});

test('where true segments overlap, the first one holds, as for frames', () => {
  const overlapping = [
    [0, 1.02, 'a'],
    [1, 2, 's'],
  ];
  near(
    total(
      errors(
        overlapping,
        [
          [0, 1.02, 'a'],
          [1.02, 2, 's'],
        ],
        2,
      ),
    ),
    0,
  );
});

test('the mean is over utterances, whatever their lengths, and is not known for rows without seconds', () => {
  const row = (seconds, missed) => ({
    label: 'a',
    predicted: 'a',
    seconds,
    truth: [0],
    path: [0],
    posteriors: [[1, 0]],
    attention: [1],
    errorSeconds: { missed, falseAlarm: 0, confusion: 0 },
  });
  const score = (rows) => scoreRows(rows, ['a', 'n'], 'n').meanEder;
  near(score([row(1, 0.5), row(9, 0.9)]), 0.3);
  const { errorSeconds: _, ...older } = row(1, 0.5);
  assert.is(score([older, row(1, 0)]), null);
  const { truth: __, ...unknown } = row(1, 0.5);
  assert.is(score([unknown]), null);
});

test.run();
