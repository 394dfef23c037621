// Mutations: of bytes, of text, and of JSON values. Each takes a valid input and gives one that is slightly, or grossly, wrong.

const integers = [0n, 1n, 2n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fffffffn, 0x80000000n, 0xffffffffn]
  .concat([0x100000000n, 2n ** 40n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n])
  .concat([44n, 100n, 4096n, 1_000_000n]);
const numbers = ['0', '-1', '-0', '1', '2', '0.5', '1e308', '1e400', '-1e400', '1e-320', '4294967296', '2147483648']
  .concat([
    '9007199254740993',
    '18446744073709551616',
    '1048576',
    '999999999',
    'NaN',
    'Infinity',
    '"7"',
    '0x10',
    '1_000',
  ])
  .concat(['null', 'true', '[]', '{}', '""']);
const words = ['__proto__', 'constructor', 'toString', '\u0000', '\u001b[2J\u001b[31m', '../../../etc/passwd', '\ufeff']
  .concat([
    '\ud800',
    '\r\n',
    '\n',
    ',',
    '"',
    "'",
    '{',
    '}',
    '[',
    ']',
    ':',
    '\\',
    '\\u0000',
    '%s%n',
    'é',
    '💥',
    '<script>',
  ])
  .concat(['nan', '1'.repeat(400), 'x'.repeat(70_000)]);
const nests = ['[', '{"a":', '(', '[[', '[{"x":'];

const byteMutations = [
  // A bit
  (random, bytes) => {
    if (bytes.length > 0) bytes[random.below(bytes.length)] ^= 1 << random.below(8);
    return bytes;
  },
  // A byte of note
  (random, bytes) => {
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.pick([0, 1, 0x7f, 0x80, 0xfe, 0xff, 0x20, 0x0a]);
    return bytes;
  },
  // An integer of note, most often near the start, where lengths and counts are
  (random, bytes) => {
    const width = random.pick([2, 4, 8]);
    if (bytes.length < width) return bytes;
    const reach = random.oneIn(3) ? bytes.length : Math.min(bytes.length, 128);
    const at = random.below(Math.max(1, reach - width + 1));
    const value = BigInt.asUintN(8 * width, random.pick(integers));
    for (let i = 0; i < width; i++) {
      const place = random.oneIn(2) ? i : width - 1 - i;
      bytes[at + place] = Number((value >> BigInt(8 * i)) & 0xffn);
    }
    return bytes;
  },
  // Insertion
  (random, bytes) => {
    const at = random.below(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), random.bytes(1 + random.below(16)), bytes.subarray(at)]);
  },
  // Deletion
  (random, bytes) => {
    const at = random.below(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(random.pick([4, 64, 4096])))]);
  },
  // Truncation
  (random, bytes) => bytes.subarray(0, random.below(bytes.length + 1)),
  // A part repeated, sometimes very often
  (random, bytes) => {
    const at = random.below(bytes.length + 1);
    const part = bytes.subarray(at, at + 1 + random.below(64));
    const times = random.oneIn(10) ? Math.floor(1_000_000 / (part.length + 1)) : 1 + random.below(8);
    return Buffer.concat([bytes.subarray(0, at), ...new Array(times).fill(part), bytes.subarray(at)]);
  },
  // A splice: the start of one input and the end of another
  (random, bytes, seeds) => {
    const other = random.pick(seeds);
    return Buffer.concat([
      bytes.subarray(0, random.below(bytes.length + 1)),
      other.subarray(random.below(other.length)),
    ]);
  },
];

const textMutations = [
  // A number replaced
  (random, text) => {
    const found = [...text.matchAll(/-?\d+(?:\.\d+)?/g)];
    if (found.length === 0) return text;
    const { index, 0: number } = random.pick(found);
    return text.slice(0, index) + random.pick(numbers) + text.slice(index + number.length);
  },
  // A word replaced
  (random, text) => {
    const found = [...text.matchAll(/[A-Za-z_]+/g)];
    if (found.length === 0) return text;
    const { index, 0: word } = random.pick(found);
    return text.slice(0, index) + random.pick([...words, random.pick(found)[0]]) + text.slice(index + word.length);
  },
  // Something put in
  (random, text) => {
    const at = random.below(text.length + 1);
    return text.slice(0, at) + random.pick(random.oneIn(2) ? words : numbers) + text.slice(at);
  },
  // Nesting beyond any stack
  (random, text) => {
    const at = random.below(text.length + 1);
    return text.slice(0, at) + random.pick(nests).repeat(random.pick([40, 2000, 100_000])) + text.slice(at);
  },
];

/** Any value that JSON can hold, as text, with a fondness for trouble. */
function troublesome(random) {
  if (random.oneIn(6)) {
    const depth = random.pick([20, 5000, 100_000]);
    return random.oneIn(2) ? '['.repeat(depth) + ']'.repeat(depth) : `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
  }
  if (random.oneIn(8)) return `[${new Array(random.pick([10, 1000, 100_000])).fill(random.below(9)).join(',')}]`;
  if (random.oneIn(2)) return JSON.stringify(random.pick(words));
  const number = random.pick(numbers);
  return number === 'NaN' || number === 'Infinity' || /^0x|_/.test(number) ? '1e999' : number;
}

const place = '\u{10ffff}here';

/** JSON text with one value, at any depth, replaced, removed or given twice. */
export function mutateJson(random, text) {
  const root = JSON.parse(text);
  const spots = [];
  const visit = (parent) => {
    for (const key of Object.keys(parent)) {
      spots.push([parent, key]);
      if (typeof parent[key] === 'object' && parent[key] !== null) visit(parent[key]);
    }
  };
  if (typeof root === 'object' && root !== null) visit(root);
  if (spots.length === 0 || random.oneIn(40)) return troublesome(random);
  const [parent, key] = random.pick(spots);
  const what = random.below(8);
  if (what === 0) delete parent[key];
  else if (what === 1) parent[random.pick(words)] = parent[key];
  else if (what === 2) parent[key] = random.pick(spots.map(([owner, name]) => structuredClone(owner[name])));
  else parent[key] = place;
  return JSON.stringify(root).replace(JSON.stringify(place), () => troublesome(random));
}

/** One to eight mutations of bytes, and of text where the format is text. */
export function mutate(random, seed, seeds, isText) {
  let bytes = Buffer.from(seed);
  for (let round = random.oneIn(2) ? 1 : 1 + random.below(8); round > 0; round--) {
    if (isText && !random.oneIn(3)) {
      bytes = Buffer.from(random.pick(textMutations)(random, bytes.toString('utf8')));
    } else {
      bytes = Buffer.from(random.pick(byteMutations)(random, bytes, seeds));
    }
    // Large inputs are not the point: limits on size are tested by themselves.
    if (bytes.length > 4_000_000) bytes = bytes.subarray(0, 4_000_000);
  }
  return bytes;
}
