// Which inputs of a corpus are worth keeping: what each reaches is found in a process with counters.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { fewest, Reached } from './guide.js';
import { pack, unpack } from './kept.js';

const here = dirname(fileURLToPath(import.meta.url));

/** Few small inputs that together reach what all do. */
export async function fewestOf(name, directory, inputs) {
  const scratch = mkdtempSync(join(tmpdir(), 'emoframe-minimize-'));
  const [from, to] = [join(scratch, 'from'), join(scratch, 'to')];
  writeFileSync(from, pack(inputs));
  const args = ['--import', join(here, 'withCounters.js'), fileURLToPath(import.meta.url), name, directory, from, to];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  if (code !== 0) throw new Error(`The inputs of ${name} could not be read again.`);
  const kept = unpack(readFileSync(to));
  rmSync(scratch, { recursive: true });
  return kept;
}

if (pathToFileURL(process.argv[1]).href === import.meta.url) {
  const [name, directory, from, to] = process.argv.slice(2);
  const { readers, seedsOf } = await import('./readers.js');
  const reader = readers[name];
  const file = join(directory, reader.file);
  const reached = new Reached(reader.openCounters?.());
  const read = async (bytes) => {
    writeFileSync(file, bytes);
    reached.begin();
    await (reader.readBytes === undefined ? reader.read(file) : reader.readBytes(bytes, file)).catch(() => undefined);
    return { bytes, reached: reached.reached() };
  };
  const all = [];
  // What a first reading sets up is no merit of its input.
  const known = new Set();
  for (const bytes of await seedsOf(reader, directory)) {
    await read(bytes);
    for (const feature of (await read(bytes)).reached) known.add(feature);
  }
  for (const bytes of unpack(readFileSync(from))) {
    const { reached: its } = await read(bytes);
    all.push({ bytes, reached: its.filter((feature) => !known.has(feature)) });
  }
  writeFileSync(to, pack(fewest(all)));
}
