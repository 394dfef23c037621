// The Hub's cache on disk, shared with its Python tools, so that neither downloads what the other has: contents of files are in
// `blobs`, named by their hash, links to them in `snapshots/COMMIT`, and the commit of each branch in `refs`.
import { copyFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { findLayout, preprocessorFile, processorFile } from '../checkpoint/layouts.js';
import { isIndex, readShardIndex } from '../checkpoint/weights.js';
import { writeError, writeFileAtomic } from '../files/atomic.js';
import { isLink } from '../files/links.js';
import { fileExists, readText } from '../files/read.js';
import { temporaryName } from '../files/temporaries.js';
import { blobOf, isSound, makeOwnFolder } from './blobs.js';

const commitPattern = /^[0-9a-f]{40}$/;

export function isCommit(revision: string): boolean {
  return commitPattern.test(revision);
}

/** `OWNER/NAME` of the model whose snapshot in a cache a directory is; undefined for any other directory. */
export function nameOfSnapshot(directory: string): string | undefined {
  const [snapshots, folder] = [dirname(directory), dirname(dirname(directory))].map((path) => basename(path));
  if (snapshots !== 'snapshots' || !isCommit(basename(directory)) || !folder?.startsWith('models--')) return undefined;
  return folder.slice('models--'.length).replace('--', '/');
}

/** One model in the cache. */
export class CachedModel {
  /** `models--OWNER--NAME` */
  readonly folder: string;

  constructor(
    cacheDir: string,
    readonly name: string,
  ) {
    this.folder = join(cacheDir, `models--${name.replace('/', '--')}`);
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  blob(hash: string): string {
    return join(this.folder, 'blobs', hash);
  }

  /** The commit that a branch or tag had when it was last asked for. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const kept = await readText(join(this.folder, 'refs', revision), 4096).catch(() => '');
    return isCommit(kept.trim()) ? kept.trim() : undefined;
  }

  async rememberCommit(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || (await this.commitOf(revision)) === commit) return;
    const file = join(this.folder, 'refs', revision);
    try {
      await this.#makeFolder(dirname(file));
      await removeLink(file);
    } catch (error) {
      throw writeError(file, error);
    }
    await writeFileAtomic(file, commit);
  }

  /**
   * The directory of a revision, if all files that a model needs are in it. Those whose hash the cache knows are looked at, once.
   *
   * @returns `damaged`: a file that does not have the bytes that it was downloaded with
   */
  async find(
    revision: string,
    signal?: AbortSignal,
  ): Promise<{ directory: string; damaged?: undefined } | { damaged: string } | undefined> {
    const commit = await this.commitOf(revision);
    if (commit === undefined) return undefined;
    const directory = this.snapshot(commit);
    let found = false;
    for await (const name of filesOf(directory)) {
      const file = join(directory, name);
      if (!(await fileExists(file))) return undefined;
      const blob = await blobOf(file);
      if (blob !== undefined && !(await isSound(blob, signal))) return { damaged: file };
      found = true;
    }
    return found ? { directory } : undefined;
  }

  /**
   * Whether it is known if the model takes normalised audio: by a file that says so, by the note that the Hub has none, or because it is
   * a model of which another file says it.
   */
  async knowsNormalization(directory: string): Promise<boolean> {
    const found = await findLayout((name) => fileExists(join(directory, name)));
    if (found !== undefined && found.layout.name !== 'transformers') return true;
    const commit = relative(join(this.folder, 'snapshots'), directory);
    const [preprocessor, processor] = await Promise.all(
      [preprocessorFile, processorFile].map(async (name) => ({
        here: await fileExists(join(directory, name)),
        absent: await fileExists(join(this.folder, '.no_exist', commit, name)),
      })),
    );
    return preprocessor!.here || processor!.here || (preprocessor!.absent && processor!.absent);
  }

  /** Notes that a commit has no such file, as the Hub's tools do. */
  async noteAbsent(commit: string, path: string): Promise<void> {
    const file = join(this.folder, '.no_exist', commit, path);
    try {
      await this.#makeFolder(dirname(file));
      await removeLink(file);
      await writeFile(file, '');
    } catch (error) {
      throw writeError(file, error);
    }
  }

  #makeFolder(folder: string): Promise<void> {
    return makeOwnFolder(dirname(this.folder), folder);
  }

  /** Puts a blob into a snapshot under its name there. */
  async link(hash: string, commit: string, path: string): Promise<void> {
    const file = join(this.snapshot(commit), path);
    const target = this.blob(hash);
    try {
      if (await sameFile(file, target)) return;
      await this.#makeFolder(dirname(file));
      const source = relative(dirname(file), target);
      if (await isNew(symlink(source, file))) return;
      // In one step: others may be reading the file, or linking it.
      const temporary = temporaryName(file);
      try {
        await symlink(source, temporary).catch((error: NodeJS.ErrnoException) => {
          if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(error.code ?? '')) throw error;
          // A file system without links.
          return copyFile(target, temporary);
        });
        await rename(temporary, file);
      } finally {
        // What went wrong before is told; and left there it does no harm.
        await rm(temporary, { force: true }).catch(() => undefined);
      }
    } catch (error) {
      throw writeError(file, error);
    }
  }
}

/** Whether a link could be made where nothing was. */
function isNew(made: Promise<void>): Promise<boolean> {
  return made.then(
    () => true,
    () => false,
  );
}

/** What is written is a file of the cache, not what a link in it leads to. */
async function removeLink(file: string): Promise<void> {
  if (await isLink(file)) await rm(file);
}

async function sameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((path) => stat(path).catch(() => undefined)));
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

/** The files of a model that is in a directory: those that say what it is, its weights, and what an index of weights names. */
async function* filesOf(directory: string): AsyncGenerator<string> {
  const here = (name: string) => fileExists(join(directory, name));
  const found = await findLayout(here);
  if (found === undefined) return;
  const { needs, also } = found.layout;
  yield* needs;
  for (const name of also) if (await here(name)) yield name;
  yield found.weights;
  // Whoever takes the names has looked at the index by then.
  if (isIndex(found.weights)) yield* new Set((await readShardIndex(join(directory, found.weights))).values());
}
