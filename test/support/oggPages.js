const headerBytes = 27;

/** The pages of an Ogg file, in its memory. */
export function splitPages(bytes) {
  const pages = [];
  for (let at = 0; at + headerBytes <= bytes.length; ) {
    const lacing = bytes.subarray(at + headerBytes, at + headerBytes + bytes[at + 26]);
    const length = headerBytes + lacing.length + lacing.reduce((sum, lace) => sum + lace, 0);
    pages.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pages;
}

/** Gives a page the checksum that belongs to it. */
export function withChecksum(page) {
  page.writeUInt32LE(0, 22);
  let crc = 0;
  for (const byte of page) {
    crc ^= byte << 24;
    for (let i = 0; i < 8; i++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  }
  page.writeUInt32LE(crc >>> 0, 22);
  return page;
}
