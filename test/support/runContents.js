// What two runs of the same request must have in common, to the bit: every file of the run directory, without the moments and
// durations that files show.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { shownPoints } from './eventFiles.js';

const digest = (data) => createHash('sha256').update(data).digest('hex');
const without = (text, ...names) => {
  const value = JSON.parse(text);
  for (const name of names) delete value[name];
  return JSON.stringify(value);
};
const lines = (text) => text.split('\n').filter((line) => line !== '');

/** How fast updates were made, which rows of the log and curves have. */
const speeds = ['audioSecondsPerSecond', 'flopsPerSecond', 'peakShare'];

/** The only things that may differ, by file name. */
const timeless = {
  'done.json': (text) => without(text, 'time', 'seconds'),
  'summary.json': (text) => without(text, 'seconds'),
  'config.json': (text) => without(text, 'threads'),
  'log.jsonl': (text) =>
    lines(text)
      .map((line) => without(line, 'time', ...speeds))
      .join('\n'),
  // It shows the duration and config.json.
  'report.html': (text) => text.replace(/<li>run in <b>[^<]*<\/b><\/li>/, '').replace(/&#34;threads&#34;: \d+,/, ''),
};

/** Path in the run directory → digest of what must be the same. */
export function runContents(directory) {
  const contents = new Map();
  const visit = (path) => {
    for (const entry of readdirSync(join(directory, path), { withFileTypes: true })) {
      const inside = join(path, entry.name);
      const file = join(directory, inside);
      if (entry.isDirectory()) visit(inside);
      // Their names and their number show when they were opened.
      else if (entry.name.startsWith('events.')) {
        const points = shownPoints(join(file, '..')).filter(([tag]) => !speeds.includes(tag.split('/').at(-1)));
        contents.set(path, digest(JSON.stringify(points)));
      } else if (entry.name in timeless) contents.set(inside, digest(timeless[entry.name](readFileSync(file, 'utf8'))));
      else contents.set(inside, digest(readFileSync(file)));
    }
    // An empty directory is a leftover too.
    if (readdirSync(join(directory, path)).length === 0) contents.set(join(path, '/'), 'empty');
  };
  visit('');
  return contents;
}

/** Paths that two runs do not share, or that hold something else. */
export function differences(before, after) {
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((path) => before.get(path) !== after.get(path))
    .sort();
}
