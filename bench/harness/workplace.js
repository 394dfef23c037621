// A folder for the files that contenders share, and things in it that are made once.
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Runs `work` with a folder that lasts as long as it does, or with the one that is to be kept. */
export async function inFolder(kept, work) {
  if (kept) {
    await mkdir(kept, { recursive: true });
    return work(kept);
  }
  const folder = await mkdtemp(join(tmpdir(), 'emoframe-bench-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The path, after making what it names unless that is there: `make` gets another one, so that half of it is never kept. */
export async function once(path, make) {
  const there = await access(path).then(
    () => true,
    () => false,
  );
  if (there) return path;
  const part = `${path}.part`;
  await rm(part, { recursive: true, force: true });
  await make(part);
  await rename(part, path);
  return path;
}
