import { type AudioCacheContents, describeAudioCache, trimAudioCache } from '../audio/cacheFolder.js';
import { defineCommand } from './command.js';
import { cacheFolderOf, flag, nonNegativeNumber, UsageError } from './options.js';

const gib = 2 ** 30;

export const cacheCommand = defineCommand({
  name: 'cache',
  summary: 'what a cache of decoded audio holds; make it smaller, or clear it',
  arguments: '[DIR]',
  description:
    'Counts the entries of the cache that --audio-cache DIR fills, by default of EMOFRAME_AUDIO_CACHE. With --limit-gib what was\nnot used for longest is deleted until that much is left. A cache in use may be made smaller: what is missing is decoded again.',
  options: {
    'limit-gib': nonNegativeNumber('delete down to so many GiB'),
    clear: flag('delete all entries'),
  },
  examples: ['emoframe cache ~/.cache/emoframe-audio', 'emoframe cache ~/.cache/emoframe-audio --limit-gib 20'],
  run: async (positionals, values, { print }) => {
    if (positionals.length > 1) throw new UsageError(`Expected one cache but received ${positionals.length}.`);
    const dir = cacheFolderOf(positionals[0]);
    if (dir === undefined) throw new UsageError('Expected the folder of a cache.');
    const limit = values.clear ? 0 : values['limit-gib'];
    const contents = limit === undefined ? await describeAudioCache(dir) : await trimAudioCache(dir, limit * gib);
    await print(values.json ? JSON.stringify({ dir, ...contents }) : describe(dir, contents));
  },
});

function describe(dir: string, { entries, bytes }: AudioCacheContents): string {
  return `${dir}: ${entries} entries, ${(bytes / gib).toFixed(2)} GiB`;
}
