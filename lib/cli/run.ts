import { join } from 'node:path';
import { writeReport } from '../report/report.js';
import { defineCommand } from './command.js';
import { Progress } from './progress.js';
import { openTrainer, readRunOptions, runDirectoryOptions } from './runOptions.js';
import { scoreTable } from './scoreTable.js';

export const runCommand = defineCommand({
  name: 'run',
  summary: 'run the whole method on a corpus: all stages of all folds, scores and report',
  arguments: 'CORPUS...',
  description:
    'Runs every stage for every fold and writes scores (summary.json), timelines and report.html into the run directory.\nA run that was stopped, for any reason, is continued with --resume.\nSeveral corpora are combined under one label scheme (default: common-4); NAME=DIR states the dataset of a folder.',
  options: runDirectoryOptions,
  examples: [
    'emoframe run iemocap.jsonl --model hubert-base-ls960 --out runs/iemocap',
    'emoframe run iemocap.jsonl --model hubert-base-ls960 --out runs/iemocap --resume',
    'emoframe run IEMOCAP RAVDESS esd-english=ESD --test ZED --preset sed --model facebook/hubert-large-ll60k --out runs/zed',
  ],
  run: async (positionals, values, context) => {
    const progress = new Progress();
    const options = await readRunOptions(positionals, values, context, progress);
    await using trainer = await openTrainer(options.trainer, context, progress);
    const summary = await trainer.run(options.call).finally(() => progress.finish());
    const report = await writeReport(values.out, { signal: context.signal });
    if (values.json) return context.printJson(summary);
    await context.print(scoreTable(summary));
    await context.print(['', `scores  ${join(values.out, 'summary.json')}`, `report  ${report}`]);
  },
});
