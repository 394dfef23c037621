// Ogg files whose pages are wrong inside and have the checksum that belongs to it: else nothing behind the checksum would be
// reached.

import { splitPages, withChecksum } from '../../support/oggPages.js';

const headerBytes = 27;

/** Changes bytes of some pages, and corrects all checksums. */
export function mutateOgg(random, bytes) {
  const changed = Buffer.from(bytes);
  const pages = splitPages(changed);
  for (let n = 1 + random.below(4); n > 0; n--) {
    const page = random.oneIn(2) ? pages[0] : random.pick(pages);
    // Rarely in the header: positions, numbers, flags. Lengths stay, or the pages would no longer be found.
    const body = headerBytes + page[26];
    const at = random.oneIn(3) ? 5 + random.below(17) : body + random.below(Math.max(1, page.length - body));
    if (at < page.length) page[at] = random.oneIn(2) ? page[at] ^ (1 << random.below(8)) : random.below(256);
  }
  for (const page of pages) withChecksum(page);
  return changed;
}
