import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readSafetensors, writeSafetensors } from '../../dist/index.js';
import { refused } from '../support/refused.js';
import { longestTurn } from '../support/turns.js';

const fixtures = fileURLToPath(new URL('../fixtures/checkpoints/', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-safetensors-'));

/** A file with this header and so many bytes of data. */
function craft(header, dataBytes, declared) {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(declared ?? text.length));
  const path = join(scratch, 'crafted.safetensors');
  writeFileSync(path, Buffer.concat([length, text, Buffer.alloc(dataBytes)]));
  return path;
}

const entry = (shape, begin, end, dtype = 'F32') => ({ dtype, shape, data_offsets: [begin, end] });

test('large tensors come back as they went, and each array lives as long as it is held, whatever else is freed', async () => {
  const path = join(scratch, 'large.safetensors');
  const data = Float32Array.from({ length: 300_000 }, (_, i) => Math.sin(i));
  await writeSafetensors(path, [{ name: 'large', shape: [300, 1000], data }]);
  const { data: held } = (await readSafetensors(path)).tensors.get('large');
  for (let round = 0; round < 20; round++) await readSafetensors(path);
  assert.ok(Buffer.from(held.buffer).equals(Buffer.from(data.buffer)));
});

test('metadata has any names, and only those that are its own', async () => {
  const path = join(scratch, 'named.safetensors');
  const given = JSON.parse('{"__proto__": "a", "constructor": "b"}');
  await writeSafetensors(path, [], given);
  const { metadata } = await readSafetensors(path);
  assert.equal(
    Object.entries(metadata).sort(),
    [
      ['__proto__', 'a'],
      ['constructor', 'b'],
      ['format', 'pt'],
    ].sort(),
  );
});

test('every dtype that safetensors wrote is read as float32', async () => {
  const { tensors, metadata } = await readSafetensors(join(fixtures, 'dtypes.safetensors'));
  assert.equal(metadata, { 'made by': 'safetensors' });
  const read = (name) => [...tensors.get(name).data];
  const half = [0, -0, 1, -2.5, 65504, 2 ** -24, 1023 * 2 ** -24, 0.0010004043579101562];
  assert.equal(read('f16'), half);
  assert.equal(read('f32'), [...Float32Array.of(0, -0, 1, -2.5, 65504, 6e-8, 6.1e-5, 1e-3)]);
  assert.equal(read('f64'), read('f32'));
  assert.equal(read('i64'), [0, -1, 123456, -(2 ** 40)]);
  assert.equal(read('i32'), [0, -1, 123456]);
  assert.equal(read('i16'), [0, -1, 12345]);
  assert.equal(read('i8'), [0, -1, 127, -128]);
  assert.equal(read('u8'), [0, 1, 255]);
  assert.equal(read('bool'), [1, 0, 1]);
  read('bf16').forEach((value, i) => {
    assert.ok(Math.abs(value - read('f32')[i]) <= Math.abs(value) / 256, `bf16 ${i}: ${value}`);
  });
});

test('what is written is read back to the bit, with NaN, infinities, no elements and no axes', async () => {
  const path = join(scratch, 'round.safetensors');
  const tensors = [
    { name: 'b', shape: [2, 3], data: Float32Array.of(1, -0, Number.NaN, Infinity, -Infinity, 1e-45) },
    { name: 'a', shape: [], data: Float32Array.of(3) },
    { name: '10', shape: [0, 5], data: new Float32Array(0) },
    // A view into a larger buffer must write its own part only.
    { name: 'ß "quoted"', shape: [2], data: Float32Array.of(7, 8, 9, 10).subarray(1, 3) },
  ];
  await writeSafetensors(path, tensors, { note: 'x' });
  const { tensors: read, metadata } = await readSafetensors(path);
  assert.equal(metadata, { format: 'pt', note: 'x' });
  assert.is(read.size, 4);
  for (const { name, shape, data } of tensors) {
    assert.equal(read.get(name).shape, shape);
    const bits = (values) => [...new Uint32Array(values.slice().buffer)];
    assert.equal(bits(read.get(name).data), bits(data));
  }
});

test('the file does not depend on the order given, and its data is aligned to 8 bytes', async () => {
  const a = { name: 'a', shape: [1], data: Float32Array.of(1) };
  const b = { name: 'b', shape: [2], data: Float32Array.of(2, 3) };
  const [first, second] = ['first', 'second'].map((name) => join(scratch, name));
  await writeSafetensors(first, [a, b], { y: '1', x: '2' });
  await writeSafetensors(second, [b, a], { x: '2', y: '1' });
  assert.ok(readFileSync(first).equals(readFileSync(second)));
  assert.is(Number(readFileSync(first).readBigUInt64LE()) % 8, 0);
});

test('tensors read one after another into the same memory take no more than one of them', async () => {
  const path = join(scratch, 'many.safetensors');
  const data = Float32Array.from({ length: 1 << 20 }, (_, i) => i);
  const names = Array.from({ length: 48 }, (_, i) => `tensor.${i}`);
  await writeSafetensors(
    path,
    names.map((name) => ({ name, shape: [data.length], data })),
  );
  const script = `
    import { readFileSync } from 'node:fs';
    import { openSafetensors } from ${JSON.stringify(new URL('../../dist/checkpoint/safetensors.js', import.meta.url).href)};
    const peak = () => Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;
    const memory = new Float32Array(${data.length});
    const before = peak();
    const file = await openSafetensors(${JSON.stringify(path)});
    let sum = 0;
    for (const tensor of file.tensors) sum += (await tensor.read(memory)).at(-1);
    await file.close();
    console.log(JSON.stringify({ sum, grown: peak() - before }));`;
  const { sum, grown } = JSON.parse(
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }),
  );
  assert.is(sum, 48 * ((1 << 20) - 1));
  assert.ok(grown < 24, `${grown} MiB for a file of 192 MiB`);
});

test('a float32 tensor of many chunks is read whole', async () => {
  const path = join(scratch, 'long.safetensors');
  const data = Float32Array.from({ length: 2_500_000 }, (_, i) => i % 65521);
  await writeSafetensors(path, [{ name: 'long', shape: [2500, 1000], data }]);
  const read = (await readSafetensors(path)).tensors.get('long').data;
  assert.ok(Buffer.from(read.buffer).equals(Buffer.from(data.buffer)));
});

test('a half-precision tensor of many chunks is read whole', async () => {
  const count = 1_500_000;
  const path = craft({ long: entry([count], 0, 2 * count, 'F16') }, 2 * count);
  const bytes = readFileSync(path);
  for (let i = 0; i < count; i++) bytes.writeUInt16LE(i % 31744, bytes.length - 2 * (count - i));
  writeFileSync(path, bytes);
  const read = (await readSafetensors(path)).tensors.get('long').data;
  assert.is(read.length, count);
  assert.is(read[15360], 1);
  assert.is(read[31744 * 40 + 15360], 1);
  assert.is(read[count - 1], read[(count - 1) % 31744]);
});

test('tensors that do not match their shape, or share a name, are not written', async () => {
  const path = join(scratch, 'never');
  const a = { name: 'a', shape: [2], data: Float32Array.of(1, 2) };
  await refused(writeSafetensors(path, [a, a]), 'ERR_TENSOR', /Two tensors.*a/);
  const error = await refused(writeSafetensors(path, [{ ...a, shape: [3] }]), 'ERR_TENSOR', /shape \[3\] but 2 values/);
  assert.is(error.tensor, 'a');
  await refused(readSafetensors(path), 'ERR_FILE_NOT_FOUND', /never/);
});

function short() {
  const path = join(scratch, 'short.safetensors');
  writeFileSync(path, 'abc');
  return path;
}

const hostile = [
  ['no length', short, /3 bytes/],
  ['a header length beyond the limit', () => craft('{}', 0, 2n ** 62n), /4611686018427387904 bytes/],
  ['a header beyond the file', () => craft('{}', 0, 1000), /should end at byte 1008/],
  ['a header that is not JSON', () => craft('{"a":', 0), /not JSON/],
  ['a header that is not an object', () => craft('[]', 0), /not a JSON object/],
  ['white space before the header', () => craft(' {}', 0), /not a JSON object/],
  ['an entry without offsets', () => craft({ a: { dtype: 'F32', shape: [1] } }, 4), /tensor a/],
  ['a negative extent', () => craft({ a: entry([-1], 0, 4) }, 4), /tensor a/],
  ['a fraction as extent', () => craft({ a: entry([1.5], 0, 6) }, 6), /tensor a/],
  ['an unknown dtype', () => join(fixtures, 'float8.safetensors'), /F8_E4M3/],
  ['a dtype named like a method', () => craft({ a: entry([1], 0, 4, 'toString') }, 4), /toString/],
  ['a shape that is not its range', () => craft({ a: entry([2], 0, 4) }, 4), /shape \[2\]/],
  ['a shape whose product overflows', () => craft({ a: entry([2 ** 40, 2 ** 40], 0, 4) }, 4), /tensor a/],
  ['offsets beyond the file', () => craft({ a: entry([4], 0, 16) }, 4), /cut short/],
  ['tensors that overlap', () => craft({ a: entry([2], 0, 8), b: entry([1], 4, 8) }, 8), /b overlaps/],
  ['a hole between tensors', () => craft({ a: entry([1], 0, 4), b: entry([1], 8, 12) }, 12), /hole at byte 4/],
  ['bytes of no tensor', () => craft({ a: entry([1], 0, 4) }, 8), /belong to no tensor/],
  ['metadata that is not text', () => craft({ __metadata__: { a: 1 } }, 0), /__metadata__/],
  [
    'metadata with __proto__ that is not text',
    () => craft('{"__metadata__":{"__proto__":{"layer":"3"}}}', 0),
    /__proto__/,
  ],
];
for (const [what, make, pattern] of hostile) {
  test(`a file with ${what} is refused`, async () => {
    const path = make();
    const error = await refused(readSafetensors(path), 'ERR_CHECKPOINT', pattern);
    assert.is(error.file, path);
  });
}

test('a directory in place of a file is refused', () =>
  refused(readSafetensors(scratch), 'ERR_READ', /not a regular file/));

const many = (count) =>
  `{${Array.from({ length: count }, (_, i) => `"t${i}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`).join()}}`;

test('a header that is made to take time or memory is refused in steps, before much is made of it', async () => {
  const headers = [
    ['['.repeat(30e6), /nests more than 100 deep/],
    [`{"a":${'{"a":'.repeat(200)}`, /nests more than 100 deep/],
    [many(100_002), /has 100002 tensors, more than 100000/],
    [many(300_000), /more than 1600000 values/],
    [`{"__metadata__":{"a":"${'\\n'.repeat(3e6)}"}}`, /a value of more than 4194304 bytes/],
  ];
  for (const [header, reason] of headers) {
    const path = craft(header, 0);
    const turn = await longestTurn(() => refused(readSafetensors(path), 'ERR_CHECKPOINT', reason));
    assert.ok(turn < 250, `${reason}: the event loop waited ${turn} ms`);
  }
  assert.is((await readSafetensors(craft(many(20_000), 0))).tensors.size, 20_000);
});

test('a name twice, however it is written, and one that is not Unicode are refused: readers would differ in what they are', async () => {
  const one = JSON.stringify(entry([1], 0, 4));
  for (const header of [`{"a":${one},"a":${one}}`, `{"a":${one},"\\u0061":${one}}`]) {
    await refused(readSafetensors(craft(header, 4)), 'ERR_CHECKPOINT', /has a key twice/);
  }
  await refused(readSafetensors(craft(`{"\\ud800":${one}}`, 4)), 'ERR_CHECKPOINT', /not valid Unicode/);
});

test.run();
