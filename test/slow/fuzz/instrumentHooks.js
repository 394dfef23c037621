// Module hooks: what is loaded of this package's dist has counters in it.
import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { instrument } from './instrument.js';

const dist = fileURLToPath(new URL('../../../dist/', import.meta.url));
let counters = 0;

export async function load(url, context, nextLoad) {
  const loaded = await nextLoad(url, context);
  if (loaded.format !== 'module' || !url.startsWith('file:')) return loaded;
  const file = fileURLToPath(url);
  if (!file.startsWith(dist.endsWith(sep) ? dist : dist + sep)) return loaded;
  const made = instrument(loaded.source.toString(), counters);
  counters += made.counters;
  return { ...loaded, source: made.code };
}
