// Readers in a process of their own, so that a crash, a hang or a flood of memory is theirs alone. It is given paths and
// answers how reading each ended.
import { attempt, peakBytes } from './attempt.js';
import { readers } from './readers.js';

const known = new Set();

process.on('message', async ({ name, directory, path }) => {
  // The first reading also opens what the process keeps: WebAssembly, the engine, timers.
  const { code, wrong } = await attempt(() => readers[name].read(path), directory, known.has(name));
  known.add(name);
  process.send({ code, wrong, peakBytes: peakBytes() });
});
process.send({ ready: true });
