// Module hooks: what is loaded of this package's dist has counters in it. Made once for each version of a file, in build/.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { instrument } from './instrument.js';

const dist = new URL('../../../dist/', import.meta.url).href;
const folder = fileURLToPath(new URL('../../../build/instrumented/', import.meta.url));
const version = readFileSync(new URL('./instrument.js', import.meta.url));
let counters = 0;

export async function load(url, context, nextLoad) {
  const loaded = await nextLoad(url, context);
  if (loaded.format !== 'module' || !url.startsWith(dist)) return loaded;
  const source = loaded.source.toString();
  const file = join(folder, createHash('sha256').update(version).update(source).update(String(counters)).digest('hex'));
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${file}.${process.pid}`, JSON.stringify(instrument(source, counters)));
    renameSync(`${file}.${process.pid}`, file);
  }
  const made = JSON.parse(readFileSync(file, 'utf8'));
  counters += made.counters;
  return { ...loaded, source: made.code };
}
