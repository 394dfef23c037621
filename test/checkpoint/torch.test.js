import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { unpickle } from '../../dist/checkpoint/foreign/pickle.js';
import { refused } from '../support/refused.js';
import { readTorch } from '../support/torchFile.js';

const fixtures = fileURLToPath(new URL('../fixtures/checkpoints/', import.meta.url));
const expected = JSON.parse(readFileSync(join(fixtures, 'expected.json')));
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-torch-'));

function agrees(name, { shape, data }, truth) {
  assert.equal(shape, truth.shape, name);
  truth.first.forEach((value, i) => {
    assert.is(data[i], Math.fround(value), `${name}[${i}]`);
  });
  const weighted = data.reduce((sum, value, i) => sum + value * ((i % 97) + 1), 0);
  assert.ok(Math.abs(weighted - truth.weighted) <= 1e-6 * (1 + Math.abs(truth.weighted)), `${name}: ${weighted}`);
}

for (const file of ['views.bin', 'views.protocol5.bin']) {
  test(`${file}: every dtype, and views with offsets, strides and shared storages, as PyTorch has them`, async () => {
    const tensors = await readTorch(join(fixtures, file));
    assert.equal([...tensors.keys()], Object.keys(expected.views));
    for (const [name, truth] of Object.entries(expected.views)) agrees(name, tensors.get(name), truth);
    assert.is(tensors.get('plain').data.buffer === tensors.get('offset').data.buffer, false);
  });
}

test('a half-precision state dict (OrderedDict with _metadata) is read', async () => {
  const tensors = await readTorch(join(fixtures, 'half', 'pytorch_model.bin'));
  assert.is(tensors.size, Object.keys(expected.half).length);
  for (const [name, truth] of Object.entries(expected.half)) agrees(name, tensors.get(name), truth);
});

for (const protocol of [2, 4]) {
  test(`a hostile pickle of protocol ${protocol} is refused by the name of what it asks for, and does nothing`, async () => {
    await refused(readTorch(join(fixtures, `hostile.protocol${protocol}.bin`)), 'ERR_PICKLE', /posix\.system/);
    assert.is(existsSync('/tmp/emoframe-hostile-pickle'), false);
  });
}

test('the form of before PyTorch 1.6 holds the same', async () => {
  const tensors = await readTorch(join(fixtures, 'legacy.bin'));
  assert.equal([...tensors.keys()], ['plain']);
  agrees('plain', tensors.get('plain'), expected.views.plain);
});

test('one of that form that lists no storages, or something else in their place, is refused', async () => {
  const whole = readFileSync(join(fixtures, 'legacy.bin'));
  const list = whole.lastIndexOf(Buffer.from('80025d', 'hex'));
  const end = whole.indexOf('a.', list) + 2;
  for (const [name, pickle] of Object.entries({ nothing: 'N.', number: 'K\x01.', text: 'X\x01\0\0\0a.' })) {
    const other = Buffer.from(`\x80\x02${pickle}`, 'latin1');
    const path = join(scratch, `${name}.bin`);
    writeFileSync(path, Buffer.concat([whole.subarray(0, list), other, whole.subarray(end)]));
    await refused(readTorch(path), 'ERR_CHECKPOINT', /does not list its storages/);
  }
});

test('a training checkpoint that is no plain state dict names the entry', () =>
  refused(readTorch(join(fixtures, 'extra.bin')), 'ERR_CHECKPOINT', /epoch is not a tensor/));

test('a missing file, an empty one and one of another kind are refused', async () => {
  await refused(readTorch(join(scratch, 'none.bin')), 'ERR_FILE_NOT_FOUND', /none\.bin/);
  writeFileSync(join(scratch, 'empty.bin'), '');
  await refused(readTorch(join(scratch, 'empty.bin')), 'ERR_CHECKPOINT', /empty\.bin/);
  await refused(readTorch(join(fixtures, 'expected.json')), 'ERR_CHECKPOINT', /not a PyTorch checkpoint/);
});

test('a file cut short anywhere is refused and never crashes', async () => {
  const whole = readFileSync(join(fixtures, 'views.bin'));
  const path = join(scratch, 'cut.bin');
  for (let length = 0; length < whole.length; length += 331) {
    writeFileSync(path, whole.subarray(0, length));
    await refused(readTorch(path), 'ERR_CHECKPOINT', /cut\.bin/);
  }
});

test('a file with any byte of its structure changed is read or refused, never worse', async () => {
  const whole = readFileSync(join(fixtures, 'views.bin'));
  const begin = whole.indexOf(Buffer.from([0x80, 2, 0x7d]));
  const path = join(scratch, 'changed.bin');
  let refusals = 0;
  for (let at = begin; at < begin + 1499; at += 3) {
    const changed = Buffer.from(whole);
    changed[at] ^= 0x55;
    writeFileSync(path, changed);
    await readTorch(path).catch((error) => {
      assert.ok(['ERR_PICKLE', 'ERR_CHECKPOINT'].includes(error.code), `byte ${at}: ${error.stack}`);
      refusals++;
    });
  }
  assert.ok(refusals > 100, `${refusals} refusals`);
});

/** A stored zip archive. */
function zip(entries, method = 0) {
  const parts = [];
  const directory = [];
  let at = 0;
  for (const [name, content] of Object.entries(entries)) {
    const body = Buffer.from(content);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(method, 4);
    common.writeUInt32LE(body.length, 14);
    common.writeUInt32LE(body.length, 18);
    common.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(name), body]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(at, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00', 'latin1'), common, tail, Buffer.from(name)]));
    parts.push(local);
    at += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06');
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, central, end]);
}

const bytes = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part, 'latin1')));
const text = (value) => {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  return `X${length.toString('latin1')}${value}`;
};
const integer = (value) => {
  const four = Buffer.alloc(4);
  four.writeInt32LE(value);
  return `J${four.toString('latin1')}`;
};
const tuple = (...items) => `(${items.join('')}t`;
/** {weight: view of a float storage of `stored` elements} */
const stateDict = (stored, offset, shape, strides) =>
  bytes(
    '\x80\x02}',
    text('weight'),
    'ctorch._utils\n_rebuild_tensor_v2\n(',
    tuple(text('storage'), 'ctorch\nFloatStorage\n', text('0'), text('cpu'), integer(stored)),
    'Q',
    integer(offset),
    tuple(...shape.map(integer)),
    tuple(...strides.map(integer)),
    '\x89ccollections\nOrderedDict\n)RtRs.',
  );
const eight = Buffer.from(Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7).buffer);

async function readCrafted(entries, method) {
  const path = join(scratch, 'crafted.bin');
  writeFileSync(path, zip(entries, method));
  return readTorch(path);
}

test('a view is read through its offset and strides, for the crafted archive of the next tests to mean something', async () => {
  const tensors = await readCrafted({ 'x/data.pkl': stateDict(8, 1, [2, 3], [3, 1]), 'x/data/0': eight });
  assert.equal([...tensors.get('weight').data], [1, 2, 3, 4, 5, 6]);
});

const outside = [
  ['an offset beyond its storage', stateDict(8, 8, [1], [1])],
  ['a shape beyond its storage', stateDict(8, 0, [9], [1])],
  ['a stride beyond its storage', stateDict(8, 0, [2, 2], [7, 1])],
  ['a size that no machine could hold, by stride 0', stateDict(8, 0, [2 ** 31 - 1, 2 ** 31 - 1], [0, 0])],
  ['a storage larger than its bytes', stateDict(9, 0, [9], [1])],
];
for (const [what, pickle] of outside) {
  test(`a tensor with ${what} is refused`, () =>
    refused(readCrafted({ 'x/data.pkl': pickle, 'x/data/0': eight }), 'ERR_CHECKPOINT', /weight/));
}
test('a negative stride is refused', () =>
  refused(readCrafted({ 'x/data.pkl': stateDict(8, 7, [8], [-1]), 'x/data/0': eight }), 'ERR_PICKLE', /stride/));
test('a missing storage is refused', () =>
  refused(readCrafted({ 'x/data.pkl': stateDict(8, 0, [8], [1]) }), 'ERR_CHECKPOINT', /storage 0.*missing/));
test('an archive without data.pkl is refused', () =>
  refused(readCrafted({ 'x/data/0': eight }), 'ERR_CHECKPOINT', /no data\.pkl/));
test('big-endian data is refused', () =>
  refused(
    readCrafted({ 'x/data.pkl': stateDict(8, 0, [8], [1]), 'x/data/0': eight, 'x/byteorder': 'big' }),
    'ERR_CHECKPOINT',
    /big-endian/,
  ));
test('a compressed entry is refused', () =>
  refused(readCrafted({ 'x/data.pkl': stateDict(8, 0, [8], [1]) }, 8), 'ERR_CHECKPOINT', /compressed/));
test('entries that overlap are refused', () => {
  const archive = zip({ 'x/data.pkl': stateDict(8, 0, [8], [1]), 'x/data/0': Buffer.alloc(4096) });
  // All entries of the list but the first are of one part of the file.
  const list = archive.indexOf('PK\x01\x02');
  const second = archive.subarray(archive.indexOf('PK\x01\x02', list + 4), archive.indexOf('PK\x05\x06'));
  const copies = Array.from({ length: 9 }, (_, i) =>
    Buffer.from(second.toString('latin1').replace('data/0', `data/${i}`), 'latin1'),
  );
  const directory = Buffer.concat([archive.subarray(list, archive.indexOf(second)), ...copies]);
  const end = Buffer.from(archive.subarray(-22));
  end.writeUInt16LE(10, 8);
  end.writeUInt16LE(10, 10);
  end.writeUInt32LE(directory.length, 12);
  const path = join(scratch, 'overlapping.bin');
  writeFileSync(path, Buffer.concat([archive.subarray(0, list), directory, end]));
  return refused(readTorch(path), 'ERR_CHECKPOINT', /overlap/);
});
test('thousands of small entries take few reads', async () => {
  const others = Array.from({ length: 5000 }, (_, i) => [`x/other/${i}`, 'x']);
  const path = join(scratch, 'many.bin');
  const pickle = stateDict(8, 0, [8], [1]);
  writeFileSync(path, zip({ ...Object.fromEntries(others), 'x/data.pkl': pickle, 'x/data/0': eight }));
  const handle = await open(path);
  const methods = Object.getPrototypeOf(handle);
  const { read } = methods;
  let reads = 0;
  methods.read = function (...args) {
    reads++;
    return read.apply(this, args);
  };
  try {
    assert.equal([...(await readTorch(path)).get('weight').data], [0, 1, 2, 3, 4, 5, 6, 7]);
  } finally {
    methods.read = read;
    await handle.close();
  }
  assert.ok(reads < 200, `${reads} reads`);
});
test('many names for one storage cannot fill the memory', () => {
  const one = stateDict(8, 0, [8], [1]).toString('latin1');
  const item = one.slice(one.indexOf('X'), -1);
  const many = bytes(
    '\x80\x02}',
    ...Array.from({ length: 2000 }, (_, i) => item.replace('weight', `w${1e4 + i}`)),
    '.',
  );
  // About 170 bytes a name would pass; storages of 1 MB would not.
  const big = Buffer.alloc(1 << 20);
  const wide = many.toString('latin1').replaceAll(integer(8), integer(1 << 18));
  return refused(
    readCrafted({ 'x/data.pkl': Buffer.from(wide, 'latin1'), 'x/data/0': big }),
    'ERR_CHECKPOINT',
    /far beyond its/,
  );
});

test('plain data is read: numbers, strings, containers, memo, and a list that holds itself', async () => {
  const { value } = await unpickle(
    bytes(
      '\x80\x02](K\x05M\x01\x02',
      integer(-1),
      '\x8a\x02\x00\x80',
      'G?\xf8\0\0\0\0\0\0',
      'N\x88\x89',
      text('word'),
      'q\x01h\x01}(K\x01K\x02ueK\x07a.',
    ),
    'x.bin',
  );
  assert.equal(value.slice(0, 10), [5, 513, -1, -32768, 1.5, null, true, false, 'word', 'word']);
  assert.equal([...value[10]], [[1, 2]]);
  assert.is(value[11], 7);
  const { value: own } = await unpickle(bytes('\x80\x02]q\x00h\x00a.'), 'x.bin');
  assert.is(own[0], own);
});

const pickles = [
  ['os.system', bytes('\x80\x02cos\nsystem\n(X\x02\0\0\0lstR.'), /asks for os\.system/],
  ['builtins.eval by STACK_GLOBAL', bytes('\x80\x04\x8c\x08builtins\x8c\x04eval\x93.'), /asks for builtins\.eval/],
  ['a class by INST', bytes('(ios\nsystem\n.'), /os\.system/],
  ['a dotted name that hides another', bytes('\x80\x04\x8c\x05torch\x8c\x0c_utils.eval_\x93.'), /torch\._utils\.eval_/],
  ['nothing', Buffer.alloc(0), /ends/],
  ['an empty stack', bytes('\x80\x02.'), /empty stack/],
  ['a value behind the mark', bytes('\x80\x02N(a.'), /empty stack/],
  ['an unopened sequence', bytes('\x80\x02t.'), /did not open/],
  ['a memo that was not stored', bytes('\x80\x02h\x05.'), /reads memo entry 5/],
  ['an unknown instruction', bytes('\x80\x02\xff.'), /0xff/],
  ['an extension code', bytes('\x80\x02\x82\x01.'), /0x82/],
  ['a protocol to come', bytes('\x80\x06N.'), /protocol above 5/],
  ['a string longer than the file', bytes('\x80\x02X\xff\xff\xff\xffabc.'), /middle of a value/],
  ['a string of 2^63 bytes', bytes('\x80\x04\x8d\0\0\0\0\0\0\0\x80.'), /9223372036854775808/],
  ['an integer of 200 bytes', bytes('\x80\x02\x8a\xc8', '\x01'.repeat(200), '.'), /200 bytes/],
  ['a call of a value', bytes('\x80\x02K\x01)R.'), /cannot be called/],
  ['attributes on a list', bytes('\x80\x02]}b.'), /attributes/],
  ['a tensor as a key', bytes('\x80\x02}))s.'), /dict key/],
  ['containers 40 deep', bytes('\x80\x02N', '\x85'.repeat(40), '.'), /nests containers/],
  ['sequences opened without end', bytes('\x80\x02', '('.repeat(200)), /too many sequences/],
];
for (const [what, pickle, pattern] of pickles) {
  test(`a pickle with ${what} is refused`, async () => {
    const error = await refused(unpickle(pickle, 'x.bin'), 'ERR_PICKLE', pattern);
    assert.is(error.file, 'x.bin');
  });
}

test('instructions and values are limited', async () => {
  const code = async (pickle, limits) => {
    try {
      await unpickle(pickle, 'x.bin', { limits });
    } catch (error) {
      return `${error.code} ${error.message}`;
    }
  };
  assert.match(
    await code(bytes('\x80\x02', 'N0'.repeat(50), 'N.'), { opcodes: 50 }),
    /ERR_PICKLE.*more than 50 instructions/,
  );
  assert.match(await code(bytes('\x80\x02', 'N'.repeat(50), '.'), { values: 20 }), /ERR_PICKLE.*keeps more than 20/);
  assert.match(
    await code(bytes('\x80\x02N', ...Array.from({ length: 30 }, (_, i) => `q${String.fromCharCode(i)}`), '.'), {
      values: 20,
    }),
    /ERR_PICKLE.*memoizes more than 20/,
  );
});

test.run();
