import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const lib = fileURLToPath(new URL('../../lib', import.meta.url));
/** What stands before a literal, and not before a division. */
const literal =
  /(?<=[=(,:&|!?[{;]\s*|\breturn\s+|=>\s*|^\s*)\/(?![/*])((?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+)\/([dgimsuvy]*)(?=[\s.,;)\]:]|$)/gm;

/** The regular expressions in the sources, each with the first file that has it. */
export function regexesOfLib() {
  const found = new Map();
  for (const file of readdirSync(lib, { recursive: true }).sort()) {
    if (!file.endsWith('.ts')) continue;
    const code = readFileSync(join(lib, file), 'utf8').replace(/^\s*(?:\/\/|\/?\*).*$/gm, '');
    for (const [regex] of code.matchAll(literal)) if (!found.has(regex)) found.set(regex, file);
  }
  return found;
}
