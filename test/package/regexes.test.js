// Every regular expression in lib has been looked at for texts on which it takes more time than they are long. What was found is in
// regexes.json, and scripts/regexes.js looks again: recheck takes seconds for some, which is too long for a test.
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { regexesOfLib } from '../support/regexes.js';

const test = suite('regular expressions');
const looked = JSON.parse(readFileSync(new URL('./regexes.json', import.meta.url)));

test('each of them is known to be linear, or to see short texts only', () => {
  const found = regexesOfLib();
  assert.ok(found.size > 100, `${found.size} were found`);
  const unknown = [...found].filter(([regex]) => looked[regex] === undefined);
  assert.equal(
    unknown.map(([regex, where]) => `${regex} in ${where}`),
    [],
    'run node scripts/regexes.js',
  );
  assert.equal(
    Object.keys(looked).filter((regex) => !found.has(regex)),
    [],
    'no longer there: run node scripts/regexes.js',
  );
  for (const [regex, verdict] of Object.entries(looked)) {
    assert.match(
      verdict,
      /^(?:linear|short: .{10,})$/,
      `${regex}: mend it, or say in regexes.json what bounds its texts`,
    );
  }
});

test.run();
