// Ogg files whose pages are wrong inside and have the checksum that belongs to it: else nothing behind the checksum would be
// reached.

const headerBytes = 27;

/** Changes bytes of some pages, and seals all. */
export function mutateOgg(random, bytes) {
  const changed = Buffer.from(bytes);
  const pages = pagesOf(changed);
  for (let n = 1 + random.below(4); n > 0; n--) {
    const page = random.oneIn(2) ? pages[0] : random.pick(pages);
    // Rarely in the header: positions, numbers, flags. Lengths stay, or the pages would no longer be found.
    const body = headerBytes + page[26];
    const at = random.oneIn(3) ? 5 + random.below(17) : body + random.below(Math.max(1, page.length - body));
    if (at < page.length) page[at] = random.oneIn(2) ? page[at] ^ (1 << random.below(8)) : random.below(256);
  }
  for (const page of pages) seal(page);
  return changed;
}

function pagesOf(bytes) {
  const pages = [];
  for (let at = 0; at + headerBytes <= bytes.length; ) {
    const lacing = bytes.subarray(at + headerBytes, at + headerBytes + bytes[at + 26]);
    const length = headerBytes + lacing.length + lacing.reduce((sum, piece) => sum + piece, 0);
    pages.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pages;
}

function seal(page) {
  page.writeUInt32LE(0, 22);
  let crc = 0;
  for (const byte of page) {
    crc ^= byte << 24;
    for (let i = 0; i < 8; i++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  }
  page.writeUInt32LE(crc >>> 0, 22);
}
