// The fuzzer of readers learns: what it finds by branches that inputs reach, it does not find without them.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Corpus, fewest, Reached } from '../slow/fuzz/guide.js';
import { instrument, mostCounters } from '../slow/fuzz/instrument.js';
import { Random } from '../slow/fuzz/random.js';

// Refuses a wrong byte early, as parsers do, and has a fault behind six right ones.
const planted = `
export function read(bytes) {
  if (bytes[0] !== 0x45) throw new Error('no signature');
  if (bytes[1] !== 0x80) return 'another version';
  const kind = bytes[2] === 0xff ? 'long' : 'short';
  if (kind === 'short') return kind;
  switch (bytes[3]) {
    case 0x7f:
      break;
    default:
      return 'empty';
  }
  return bytes[4] === 0x01 && (bytes[5] === 0xfe && crash());
}
function crash() {
  throw new RangeError('planted');
}
`;
const dataUrl = (code) => `data:text/javascript,${encodeURIComponent(code)}`;

/** How many inputs it took to find the fault; undefined: more than `most`. */
function search(read, most, learns) {
  const reached = new Reached();
  const corpus = new Corpus(new Random(7), {}, []);
  corpus.add(Buffer.from('E-------'));
  for (let tried = 1; tried <= most; tried++) {
    const bytes = corpus.next();
    reached.begin();
    try {
      read(bytes);
    } catch (error) {
      if (error instanceof RangeError) return tried;
    }
    if (reached.end() && learns) corpus.add(bytes);
  }
  return undefined;
}

test('a fault behind bytes that must all be right is found by what inputs reach, and not without', async () => {
  globalThis.reached = new Uint8Array(mostCounters);
  const { code } = instrument(planted, 0);
  const { read } = await import(dataUrl(code));
  const found = search(read, 15_000, true);
  assert.ok(found !== undefined, 'not found with coverage');
  assert.is(search(read, 15_000, false), undefined);
});

test('counters change nothing that code does', async () => {
  const source = `
    const pick = (n, d = n > 2 ? 'many' : 'few') => ({ n, d });
    export function run(list) {
      const out = [];
      for (const n of list) if (n % 2) out.push(pick(n)); else out.push(pick(n, null ?? 'even'));
      let left = list.length;
      do left--; while (left > 0 && list[left] !== 3);
      try { if (left === 2) throw left; } catch { out.push('caught'); }
      switch (left) { case 1: case 2: { out.push('two'); break; } default: out.push('none'); }
      let given; given ??= left || 5; out.push(given, (() => [left])());
      return out;
    }`;
  const plain = await import(dataUrl(source));
  const counted = await import(dataUrl(instrument(source, 0).code));
  for (const list of [[], [1], [1, 2, 3], [2, 4, 3, 9]]) assert.equal(counted.run(list), plain.run(list));
});

test('few inputs are kept that reach what all did', () => {
  const bytes = (length) => Buffer.alloc(length);
  const kept = fewest([
    { bytes: bytes(9), reached: [1, 2, 3, 4] },
    { bytes: bytes(1), reached: [1] },
    { bytes: bytes(2), reached: [1, 2] },
    { bytes: bytes(3), reached: [2] },
  ]);
  assert.equal(
    kept.map(({ length }) => length),
    [1, 2, 9],
  );
});

test.run();
