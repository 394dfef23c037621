// Pickles instruction by instruction, to make those that no Python program would.
import { writeFileSync } from 'node:fs';
import { zip } from '../slow/fuzz/archives.js';

/** Bytes of instructions, each text in latin1. */
export const pickle = (...parts) =>
  Buffer.concat([
    Buffer.from('\x80\x02', 'latin1'),
    ...parts.flat(Infinity).map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)),
    Buffer.from('.'),
  ]);

/** A string. */
export function text(value) {
  const bytes = Buffer.from(value);
  const head = Buffer.from('X0000');
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** Keeps the value on top of the stack as number `key`, or puts it there again. */
export const put = (key) => numbered('r', key);
export const get = (key) => numbered('j', key);

function numbered(opcode, key) {
  const bytes = Buffer.from(`${opcode}0000`);
  bytes.writeUInt32LE(key, 1);
  return bytes;
}

export const integer = (value) => {
  const bytes = Buffer.from('J0000');
  bytes.writeInt32LE(value, 1);
  return bytes;
};
export const global = (module, name) => `c${module}\n${name}\n`;
export const dict = (fields) => ['}(', Object.entries(fields).map(([key, value]) => [text(key), value]), 'u'];
/** The call of what is named with arguments. */
export const call = (module, name, ...given) => [global(module, name), '(', given, 't', 'R'];

/** A tensor of zeros in a storage of its own, of which `tensorFile` writes the bytes. */
export const tensor = (key, shape) => {
  const count = shape.reduce((product, extent) => product * extent, 1);
  const storage = ['(', text('storage'), global('torch', 'FloatStorage'), text(key), text('cpu'), integer(count), 'tQ'];
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((product, extent) => product * extent, 1));
  const tuple = (sizes) => ['(', sizes.map(integer), 't'];
  return call('torch._utils', '_rebuild_tensor_v2', storage, integer(0), tuple(shape), tuple(strides), '\x89', '}');
};

/** A list that holds a list twice, which holds a list twice: its text doubles with every level. */
export const doubled = (levels) => [
  text('ha'),
  Array.from({ length: levels }, (_, i) => [put(1000 + i), '0](', get(1000 + i), get(1000 + i), 'e']),
];

/** A file as PyTorch writes it, with this pickle, and storages of `bytes` zeros each. */
export function writeArchive(path, bytes, storages = {}) {
  const entries = [{ name: 'archive/data.pkl', bytes }];
  for (const [key, length] of Object.entries(storages)) {
    entries.push({ name: `archive/data/${key}`, bytes: Buffer.alloc(length) });
  }
  writeFileSync(path, zip(entries));
  return path;
}
