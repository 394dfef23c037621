import { given } from '../given.js';
import { findCheckpoint } from '../predict/loadModel.js';
import type { HubModelOptions } from '../predict/options.js';
import type { CommandContext } from './command.js';
import { choice, text } from './options.js';
import type { Progress } from './progress.js';

/** For every command that takes a model. */
export const revisionOption = {
  revision: text('REVISION', 'branch, tag or commit of a model on the Hub (default: main)'),
};

/** For every command that predicts with a model. */
export const headOption = {
  head: choice(
    ['ctc-mean'],
    'take the head of a speech recogniser for a classifier of the mean over frames (default: the head by its own form)',
  ),
};

const mebibyte = 1 << 20;

/** What loads the model that `--model` names, downloaded first if it is on the Hub. */
export function hubModelOptions(
  { revision }: { revision: string | undefined },
  { signal, note }: Pick<CommandContext, 'signal' | 'note'>,
  progress: Progress,
): HubModelOptions {
  return {
    signal,
    onWarning: note,
    onDownload: ({ name, file, doneBytes, totalBytes }) => {
      // No line for files that are in the cache already.
      if (doneBytes === totalBytes && !progress.shows(`download ${name}`)) return;
      progress.update({
        title: `download ${name}`,
        done: Math.floor(doneBytes / mebibyte),
        total: Math.ceil(totalBytes / mebibyte),
        message: `MiB, ${file}`,
      });
    },
    ...given({ revision }),
  };
}

/** The path of the model that `--model` names, downloaded first if it is on the Hub. */
export async function findModel(
  { model, revision }: { model: string; revision: string | undefined },
  context: Pick<CommandContext, 'signal' | 'note'>,
  progress: Progress,
): Promise<string> {
  return findCheckpoint(model, hubModelOptions({ revision }, context, progress)).finally(() => progress.finish());
}
