import { join } from 'node:path';
import { parseConfig } from '../config/read.js';
import { readCorpus } from '../corpus/read.js';
import { makeDemoCorpus } from '../demo/corpus.js';
import { given } from '../given.js';
import { Trainer } from '../pipeline/trainer.js';
import { writeReport } from '../report/report.js';
import { defineCommand } from './command.js';
import { deviceOptions, nonNegativeInteger, positiveNumber, text } from './options.js';
import { Progress } from './progress.js';
import { showStage, showWarning } from './runOptions.js';
import { scoreTable } from './scoreTable.js';

/** The session whose voices are not used in training. */
const testFold = 's5';

export const demoCommand = defineCommand({
  name: 'demo',
  summary: 'synthesise a small corpus, run the whole method on it and write a report',
  arguments: '',
  description:
    'Synthesises five sessions of emotional speech whose emotion is known frame by frame, trains a small HuBERT from scratch\nthrough all stages and scores it on voices that were not in training. A demo that was stopped continues when run again.',
  options: {
    out: text('DIR', 'the run directory (default: runs/demo)'),
    minutes: positiveNumber('minutes of speech to synthesise (default: 45)'),
    seed: nonNegativeInteger('seed of the corpus and of training (default: 1)'),
    ...deviceOptions,
  },
  examples: ['emoframe demo', 'emoframe demo --out runs/other --seed 2'],
  run: async (_positionals, values, { print, printJson, note, signal }) => {
    const { out = join('runs', 'demo'), seed = 1, minutes, device = 'cpu', precision, threads = 0, json } = values;
    const progress = new Progress();
    try {
      const { manifest } = await makeDemoCorpus(join(out, 'corpus'), {
        seed,
        ...given({ minutes }),
        signal,
        onProgress: (done, total) =>
          progress.update({
            title: 'speech synthesis',
            done: Math.round(done),
            total: Math.round(total),
            message: 's',
          }),
      });
      const config = parseConfig({ seed }, 'demo');
      await using trainer = await Trainer.open({
        corpus: await readCorpus(manifest, { signal }),
        out,
        config,
        device,
        precision: precision ?? config.precision,
        threads,
        memoryLimit: values['memory-limit'] ?? 0,
        resume: true,
      });
      const summary = await trainer.run({
        folds: [testFold],
        signal,
        onProgress: (event) => showStage(progress, event),
        onWarning: (warning) => showWarning(progress, note, warning),
      });
      progress.finish();
      const report = await writeReport(out, { signal });
      if (json) return printJson(summary);
      await print(scoreTable(summary));
      await print(['', `scores  ${join(out, 'summary.json')}`, `report  ${report}`]);
      note(
        `Try: emoframe predict ${join(out, 'corpus', 'audio')}/*.wav --model ${join(out, 'folds', testFold, 'predictor')}`,
      );
    } finally {
      progress.finish();
    }
  },
});
