// Looks at every regular expression of lib for texts on which it takes more time than they are long, and writes what it found to
// test/package/regexes.json; what people wrote there stays. Needs recheck, which is large and so no dependency of the tests:
//
//   npm install --no-save recheck@4.5.0 && node scripts/regexes.js
import { readFileSync, writeFileSync } from 'node:fs';
import { checkSync } from 'recheck';
import { regexesOfLib } from '../test/support/regexes.js';

const file = new URL('../test/package/regexes.json', import.meta.url);
const known = JSON.parse(readFileSync(file));
const verdicts = {};
for (const regex of [...regexesOfLib().keys()].sort()) {
  verdicts[regex] = known[regex] ?? look(regex);
  if (known[regex] === undefined) console.log(`${verdicts[regex]}: ${regex}`);
}
writeFileSync(file, `${JSON.stringify(verdicts, null, 2)}\n`);

function look(regex) {
  const end = regex.lastIndexOf('/');
  const { status, complexity, attack } = checkSync(regex.slice(1, end), regex.slice(end + 1), { timeout: 120_000 });
  if (status === 'safe') return 'linear';
  return status === 'unknown' ? 'unknown' : `${complexity.summary}, for example ${attack.pattern}`;
}
