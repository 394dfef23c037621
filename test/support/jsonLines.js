import { readFileSync } from 'node:fs';

/** The rows of a JSONL file whose last line is whole. */
export const jsonLines = (path) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
