// What PyTorch writes, taken apart and put together again with something wrong inside: a mutation of the bytes of an archive
// mostly breaks only the archive.
import { crc32 } from 'node:zlib';

/** The entries of a stored zip archive as PyTorch writes it. */
export function unzip(bytes) {
  const entries = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = bytes.indexOf('PK\u0001\u0002', 0, 'latin1'); view.getUint32(at, true) === 0x02014b50; ) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
    const name = bytes.toString('utf8', at + 46, at + 46 + nameLength);
    const size = view.getUint32(at + 24, true);
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    entries.push({ name, bytes: bytes.subarray(start, start + size) });
    at += 46 + nameLength + extraLength + commentLength;
  }
  return entries;
}

/** A stored zip archive. An entry's `says` overrides what its headers say: `method`, `size`, `compressed`, `flags`. */
export function zip(entries) {
  const parts = [];
  const directory = [];
  let at = 0;
  for (const { name, bytes, says = {} } of entries) {
    const { method = 0, size = bytes.length, compressed = bytes.length, flags = 0 } = says;
    const title = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(flags, 2);
    common.writeUInt16LE(method, 4);
    common.writeUInt32LE(crc32(bytes), 10);
    common.writeUInt32LE(compressed >>> 0, 14);
    common.writeUInt32LE(size >>> 0, 18);
    common.writeUInt16LE(title.length, 22);
    const local = Buffer.concat([Buffer.from('PK\u0003\u0004', 'latin1'), common, title, bytes]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(at, 10);
    directory.push(Buffer.concat([Buffer.from('PK\u0001\u0002\u0014\u0000', 'latin1'), common, tail, title]));
    parts.push(local);
    at += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\u0005\u0006', 'latin1');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, central, end]);
}

const opcodes = Buffer.from(
  'NKMJGXC]}()l.tdapqrh0j2sueRQbc12RUO\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x93\x94\x95',
  'latin1',
);

/** A pickle with instructions put in, taken out or exchanged. */
export function mutatePickle(random, pickle) {
  const bytes = Buffer.from(pickle);
  for (let round = 1 + random.below(4); round > 0; round--) bytes[random.below(bytes.length)] = random.pick(opcodes);
  if (!random.oneIn(3)) return bytes;
  const at = random.below(bytes.length);
  const inserted = random.pick([
    Buffer.alloc(random.pick([50, 5000, 500_000]), random.pick(['(', ']', '}', ')', '2', 'N', '(l', '\x85', ']\x94'])),
    Buffer.concat([Buffer.from('\x8b', 'latin1'), random.bytes(4)]),
    Buffer.concat([Buffer.from('X', 'latin1'), Buffer.from([0xff, 0xff, 0xff, random.below(256)])]),
    Buffer.from('cos\nsystem\n(X\u0004\u0000\u0000\u0000true\x85R', 'latin1'),
  ]);
  return Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at)]);
}

/** An archive with one entry wrong in itself, or in what the headers say of it. */
export function mutateArchive(random, archive) {
  const entries = unzip(archive);
  const chosen = random.pick(entries);
  const pickle = entries.find(({ name }) => name.endsWith('data.pkl'));
  switch (random.below(7)) {
    case 0:
      entries.splice(entries.indexOf(chosen), 1);
      break;
    case 1:
      entries.push({ ...chosen });
      break;
    case 2:
      chosen.says = { [random.pick(['size', 'compressed'])]: random.pick([0, 1, 0x7fffffff, 0xffffffff, 1e6]) };
      break;
    case 3:
      chosen.says = { method: random.pick([8, 9, 12, 99]), flags: random.pick([0, 1, 8, 2048]) };
      break;
    case 4:
      chosen.name = random.pick([
        '../../evil',
        '/etc/passwd',
        '',
        'a/../data.pkl',
        `${chosen.name}\u0000`,
        'x'.repeat(60_000),
      ]);
      break;
    default:
      pickle.bytes = mutatePickle(random, pickle.bytes);
  }
  return zip(entries);
}
