import { locateModel } from '../hub/download.js';
import type { CommandContext } from './command.js';
import { given, text } from './options.js';
import type { Progress } from './progress.js';

/** Which model, for everything that takes one. */
export const revisionOption = {
  revision: text('REVISION', 'of a model on the Hub: branch, tag or commit (default: main)'),
};

const mebibyte = 1 << 20;

/** Where the model lies that `--model` names, after a download if it is one of the Hub. */
export async function findModel(
  { model, revision }: { model: string; revision: string | undefined },
  { signal, note }: Pick<CommandContext, 'signal' | 'note'>,
  progress: Progress,
): Promise<string> {
  return locateModel(model, {
    signal,
    onWarning: note,
    onProgress: ({ name, file, doneBytes, totalBytes }) => {
      // What is in the cache already is not worth a line.
      if (doneBytes === totalBytes && !progress.shows(`download ${name}`)) return;
      progress.update({
        title: `download ${name}`,
        done: Math.floor(doneBytes / mebibyte),
        total: Math.ceil(totalBytes / mebibyte),
        message: `MiB, ${file}`,
      });
    },
    ...given({ revision }),
  }).finally(() => progress.finish());
}
