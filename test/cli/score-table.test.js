import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { scoreTable } from '../../dist/cli/scoreTable.js';

test('a run on values has a line for each score of each dimension', () => {
  const scores = (ccc) => ({
    ccc,
    values: {
      arousal: { ccc: ccc + 0.1, pearson: 0.8, rmse: 0.123456 },
      valence: { ccc: ccc - 0.1, pearson: 0, rmse: 1 },
    },
  });
  const table = scoreTable({ ...scores(0.5), baseline: scores(0.4), dimensions: ['arousal', 'valence'] });
  const rows = table.map((line) => line.trim().split(/ {2,}/));
  assert.equal(rows, [
    ['stage 1b', 'stage 4'],
    ['CCC, mean', '0.400', '0.500'],
    ['CCC of arousal', '0.500', '0.600'],
    ['Pearson of arousal', '0.800', '0.800'],
    ['RMSE of arousal', '0.123', '0.123'],
    ['CCC of valence', '0.300', '0.400'],
    ['Pearson of valence', '0.000', '0.000'],
    ['RMSE of valence', '1.000', '1.000'],
  ]);
});

test.run();
