import { type AudioCacheContents, describeAudioCache, trimAudioCache } from '../audio/cacheFolder.js';
import { defineCommand } from './command.js';
import { cacheFolderOf, flag, nonNegativeNumber, UsageError } from './options.js';

const gib = 2 ** 30;

export const cacheCommand = defineCommand({
  name: 'cache',
  summary: 'show, shrink or clear a cache of decoded audio',
  arguments: '[DIR]',
  description:
    'Shows the size of the cache that --audio-cache DIR fills (default: EMOFRAME_AUDIO_CACHE). --limit-gib deletes the least\nrecently used entries until the cache is that small. This is safe while the cache is in use: missing audio is decoded again.',
  options: {
    'limit-gib': nonNegativeNumber('shrink the cache to this size in GiB'),
    clear: flag('delete all entries'),
  },
  examples: ['emoframe cache ~/.cache/emoframe-audio', 'emoframe cache ~/.cache/emoframe-audio --limit-gib 20'],
  run: async (positionals, values, { print, printJson }) => {
    if (positionals.length > 1) throw new UsageError(`Expected one cache folder but received ${positionals.length}.`);
    const dir = cacheFolderOf(positionals[0]);
    if (dir === undefined) throw new UsageError('Expected the folder of a cache, or EMOFRAME_AUDIO_CACHE to name it.');
    const limit = values.clear ? 0 : values['limit-gib'];
    const contents = limit === undefined ? await describeAudioCache(dir) : await trimAudioCache(dir, limit * gib);
    if (values.json) await printJson({ dir, ...contents }, 0);
    else await print(describe(dir, contents));
  },
});

function describe(dir: string, { entries, bytes }: AudioCacheContents): string {
  return `${dir}: ${entries} entries, ${(bytes / gib).toFixed(2)} GiB`;
}
