// JSON of strangers: parsed in steps, with the limits checked before anything is made of it.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseJson } from '../../dist/files/json.js';
import { Random } from '../slow/fuzz/random.js';
import { longestTurn } from '../support/turns.js';

const test = suite('json');
const long = '1,'.repeat(50_000);

/** What becomes of a text: its value, or that it is refused. */
const outcome = async (parse) => {
  try {
    return { value: await parse() };
  } catch {
    return 'refused';
  }
};

/** Without a report of the difference, which would be as long as the texts. */
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function randomValue(random, depth) {
  const size = () => random.below(depth === 0 ? 400 : 8);
  switch (random.below(depth > 5 ? 5 : 7)) {
    case 0:
      return random.below(1e9) / 7;
    case 1:
      return 'é"\\\n\u2028😀'.repeat(random.below(4));
    case 2:
      return null;
    case 3:
      return true;
    case 4:
      return '';
    case 5:
      return Array.from({ length: size() }, () => randomValue(random, depth + 1));
    default: {
      const key = (_, i) => [random.oneIn(40) ? '__proto__' : `k${i}`, randomValue(random, depth + 1)];
      return Object.fromEntries(Array.from({ length: size() }, key));
    }
  }
}

test('a long text has the value that JSON.parse gives, and is refused where that refuses it', async () => {
  const random = new Random(7);
  let parsed = 0;
  let refused = 0;
  for (let round = 0; round < 10; round++) {
    const parts = Array.from({ length: 40 }, () => randomValue(random, 0));
    const text = JSON.stringify(round % 2 ? parts : { parts, last: parts[0] }, null, round % 3);
    assert.ok(text.length > 70_000, 'too short to be parsed in parts');
    assert.ok(same(await parseJson(text), JSON.parse(text)), `round ${round}`);
    for (let change = 0; change < 8; change++) {
      const bytes = Buffer.from(text);
      bytes[random.below(bytes.length)] = random.pick([...Buffer.from('{}[],:"\\ 1n')]);
      const expected = await outcome(() => JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
      assert.ok(same(await outcome(() => parseJson(bytes)), expected), `round ${round}, change ${change}`);
      if (expected === 'refused') refused++;
      else parsed++;
    }
  }
  assert.ok(parsed > 9 && refused > 9, `${parsed} ${refused}`);
});

test('what stands between the parts of a long text is checked as well', async () => {
  const texts = [
    `[${long}]`,
    `[${long}1],`,
    `[${long}1] x`,
    `[${long}1}`,
    `[[${long}1] [1]]`,
    `[[${long}1],]`,
    `[,${long}1]`,
    `[[${long}1]`,
    `[1]${' '.repeat(70_000)}]`,
    `{"a":[${long}1],}`,
    `{"a":-[${long}1]}`,
    `{"a" [${long}1]}`,
    `{"a":"b"[${long}1]}`,
    `{[${long}1]}`,
    `["${'a'.repeat(70_000)}","b"`,
    `"${'a'.repeat(70_000)}","b"`,
    `${long}1`,
    ' \ufeff[1]',
    '[1]\0',
    `[${' '.repeat(70_000)}]`,
    `{"__proto__":[${long}1],"b":2}`,
    `{"a":[${long}1],"a":2}`,
  ];
  for (const text of texts) {
    const expected = await outcome(() => JSON.parse(text));
    const found = await outcome(() => parseJson(Buffer.from(text)));
    assert.ok(same(found, expected), `${text.slice(0, 9)}…${text.slice(-9)}`);
  }
  const { __proto__: plain, ...own } = await parseJson(`{"__proto__":[${long}1],"b":2}`);
  assert.equal(Object.keys(own), ['b']);
  assert.is(plain.length, 50_001);
});

test('nesting and the number of values are limited before anything is made, and no text holds the event loop', async () => {
  const hostile = [
    ['['.repeat(8e6), /nests more than 100 deep/],
    [`[${'{},'.repeat(2e6)}{}]`, /more than 1000000 values/],
    [`{${Array.from({ length: 100_000 }, (_, i) => `"${i}":[]`).join()}}`, undefined],
    [`"${'\\n'.repeat(5e6)}"`, /a value of more than 4194304 bytes/],
    [`[${' '.repeat(8e6)}1]`, /a value of more than 4194304 bytes/],
  ];
  for (const [text, reason] of hostile) {
    const bytes = Buffer.from(text);
    let message;
    const turn = await longestTurn(() =>
      parseJson(bytes).catch((error) => {
        message = error.message;
      }),
    );
    if (reason === undefined) assert.is(message, undefined);
    else assert.match(message, reason);
    assert.ok(turn < 100, `${text.slice(0, 9)}: the event loop waited ${turn} ms`);
  }
  assert.is(JSON.stringify(await parseJson('['.repeat(100) + ']'.repeat(100))), '['.repeat(100) + ']'.repeat(100));
});

test('where keys must differ, one that an object has twice is refused, however it is written', async () => {
  const unique = { unique: true };
  for (const text of ['{"a":1,"a":1}', '{"a":1,"\\u0061":1}', '[{"b":{"a":1,"a":2}}]', `{"a":[${long}1],"a":1}`]) {
    const refusal = await parseJson(text, unique).catch(({ message }) => message);
    assert.is(refusal, 'An object has a key twice', text.slice(0, 30));
  }
  assert.equal(await parseJson('{"a":{"a":"a:b"},"b":[{"a":1},{"a":2}]}', unique), {
    a: { a: 'a:b' },
    b: [{ a: 1 }, { a: 2 }],
  });
});

test.run();
