import { columns, defineCommand } from './command.js';
import { integerList, required } from './options.js';
import { Progress } from './progress.js';
import { openTrainer, readRunOptions, runDirectoryOptions } from './runOptions.js';

export const sweepCommand = defineCommand({
  name: 'sweep',
  summary: 'compare layers and numbers of clusters for stage 2',
  arguments: 'CORPUS...',
  description:
    "Clusters stage 1b's hidden states at each layer with each number of clusters. The run's own clusters do not change. Purity\nand NMI against frame-level truth are shown if the corpus has segments.",
  options: {
    ...runDirectoryOptions,
    layers: required(integerList('hidden states to cluster, e.g. 6,9,12')),
    clusters: required(integerList('numbers of clusters, e.g. 20,50,100')),
  },
  examples: [
    'emoframe sweep iemocap.jsonl --model hubert-base-ls960 --out runs/iemocap --layers 6,9,12 --clusters 20,50',
  ],
  run: async (positionals, values, context) => {
    const progress = new Progress();
    const options = await readRunOptions(positionals, values, context, progress);
    const { layers, clusters } = values;
    await using trainer = await openTrainer(options.trainer, context, progress);
    const results = await trainer.sweep({ layers, clusters }, options.call).finally(() => progress.finish());
    if (values.json) return context.printJson(results);
    const number = (value: number | undefined, digits: number) => (value === undefined ? '–' : value.toFixed(digits));
    const lines = results.flatMap(({ fold, rows }) =>
      rows.map((row): [string, string] => [
        `${fold}  layer ${row.layer}  K ${row.clusters}`,
        `inertia per frame ${number(row.inertiaPerFrame, 3)}  purity ${number(row.purity, 3)}  NMI ${number(row.nmi, 3)}`,
      ]),
    );
    await context.print(columns(lines));
  },
});
