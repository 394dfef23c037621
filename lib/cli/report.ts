import { writeReport } from '../report/report.js';
import { defineCommand } from './command.js';
import { flag, UsageError } from './options.js';

export const reportCommand = defineCommand({
  name: 'report',
  summary: "write a run's report again",
  arguments: 'RUN',
  description:
    'Writes RUN/report.html from the summary, log and predictions of a run directory: one self-contained page.',
  options: { audio: flag('embed the audio of the shown utterances, about 40 kB a second') },
  examples: ['emoframe report runs/demo --audio'],
  run: async (positionals, { audio, json }, { print, printJson, signal }) => {
    const [dir] = positionals;
    if (dir === undefined || positionals.length > 1) {
      throw new UsageError(`Expected one run directory but received ${positionals.length}.`);
    }
    const report = await writeReport(dir, { embedAudio: audio, signal });
    if (json) await printJson({ report }, 0);
    else await print(report);
  },
});
