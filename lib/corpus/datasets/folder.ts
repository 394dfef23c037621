import { opendir, realpath } from 'node:fs/promises';
import { basename, dirname, extname, join, posix, relative, resolve, sep } from 'node:path';
import { EmoframeError, throwIfAborted } from '../../errors.js';
import { readError, statOfNamed } from '../../files/read.js';
import { yieldWhenDue } from '../../yield.js';

/** More files than this below a folder are refused: their names are held in memory. */
const MAX_FILES = 5_000_000;
const LOSSLESS = new Set(['.wav', '.flac']);
const LOSSY = new Set(['.mp3', '.ogg', '.oga', '.opus']);
/** What datasets also ship, and what has to be converted first. */
const UNREAD_MEDIA = new Set(['.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4a', '.flv', '.sph']);

/** The names of all files below a folder, as a dataset's reader looks at them. */
export class Folder {
  /** Audio that can be read, by its name without extension; the first of the same name. */
  readonly #audioByStem = new Map<string, string>();
  readonly #mediaByStem = new Map<string, string>();
  /** Paths below the root with `/` between names, sorted; lossy audio, of which there may be a better copy, last. */
  readonly audio: readonly string[];
  /** The same, with what has to be converted first. */
  readonly media: readonly string[];

  private constructor(
    readonly root: string,
    /** All files, sorted. */
    readonly files: readonly string[],
    media: readonly string[],
  ) {
    this.media = media;
    this.audio = [...media.filter((file) => has(LOSSLESS, file)), ...media.filter(isLossy)];
  }

  /**
   * Lists a folder and all below it. Hidden files and folders are not part of it, such as the `._` files that macOS leaves
   * in archives; links are followed, each folder once.
   *
   * @throws `ERR_READ`, `ERR_ABORTED`; `ERR_CORPUS` beyond 5 000 000 files
   */
  static async list(root: string, signal?: AbortSignal): Promise<Folder> {
    const files = await filesBelow(root, signal);
    const media: string[] = [];
    for (const file of files) {
      await yieldWhenDue();
      if (isAudio(file) || has(UNREAD_MEDIA, file)) media.push(file);
    }
    const folder = new Folder(root, files, media);
    for (const file of folder.audio) {
      await yieldWhenDue();
      if (!folder.#audioByStem.has(stemOf(file))) folder.#audioByStem.set(stemOf(file), file);
    }
    for (const file of media) {
      await yieldWhenDue();
      if (!isAudio(file) && !folder.#mediaByStem.has(stemOf(file))) folder.#mediaByStem.set(stemOf(file), file);
    }
    return folder;
  }

  /** The absolute path of a file of this folder. */
  path(file: string): string {
    return join(this.root, file);
  }

  /** The absolute path of audio by its name without folder and extension. */
  audioNamed(stem: string): string | undefined {
    const file = this.#audioByStem.get(stem);
    return file === undefined ? undefined : this.path(file);
  }

  /** Why there is no audio of a name. */
  lacking(stem: string): string {
    const media = this.#mediaByStem.get(stem);
    return media === undefined ? `there is no audio file ${stem}.wav` : toConvert(media);
  }

  /** A path from a stranger's file, which must lie below `from`; undefined where it does not. */
  static within(from: string, written: string): string | undefined {
    if (written.includes('\0')) return undefined;
    const path = resolve(from, written);
    const below = relative(from, path);
    return below === '' || below === '..' || below.startsWith(`..${sep}`) ? undefined : path;
  }
}

/** Whether a file is of a kind of audio that is read. */
export function isAudio(file: string): boolean {
  return has(LOSSLESS, file) || isLossy(file);
}

export function isLossy(file: string): boolean {
  return has(LOSSY, file);
}

/** Whether a file's name says that it is of one of some kinds. */
function has(kinds: ReadonlySet<string>, file: string): boolean {
  return kinds.has(extname(file).toLowerCase());
}

/** Says that media of another kind has to be converted. */
export function toConvert(file: string): string {
  const name = basename(file);
  return `${name} is not in a supported audio format: convert it to WAV (ffmpeg -i ${name} -ac 1 -ar 16000 ${stemOf(file)}.wav)`;
}

/** A file's name without folder and extension. */
export function stemOf(file: string): string {
  return posix.basename(file, extname(file));
}

/**
 * All files below a folder, by their paths from it. Every folder is listed once, however many links lead to it, under its own
 * path if that lies below: so links in circles, or many to the same, cost nothing.
 */
async function filesBelow(root: string, signal: AbortSignal | undefined): Promise<string[]> {
  const files: string[] = [];
  const listed = new Set<string>();
  const folders = [''];
  const links: string[] = [];
  for (let below = folders.pop(); below !== undefined; below = folders.pop() ?? links.shift()) {
    const folder = join(root, below);
    try {
      const real = await realpath(folder);
      if (listed.has(real)) continue;
      listed.add(real);
      const within: string[] = [];
      const linked: string[] = [];
      for await (const entry of await opendir(folder, { bufferSize: 1024 })) {
        throwIfAborted(signal);
        if (entry.name.startsWith('.') || entry.name === '__MACOSX') continue;
        const name = below === '' ? entry.name : `${below}/${entry.name}`;
        const kind = entry.isSymbolicLink() ? await statOfNamed(join(root, name)) : entry;
        if (kind?.isFile()) files.push(name);
        else if (kind?.isDirectory()) (entry.isSymbolicLink() ? linked : within).push(name);
      }
      // The order in which a folder lists its entries is the file system's own.
      for (const name of within.sort()) folders.push(name);
      for (const name of linked.sort()) links.push(name);
    } catch (error) {
      throw readError(folder, error);
    }
    if (files.length > MAX_FILES) {
      throw new EmoframeError('ERR_CORPUS', `${root} has more than ${MAX_FILES} files, which no dataset has.`, {
        file: root,
      });
    }
  }
  return files.sort();
}

/** The folder of a file as datasets name it: `/` between names, empty for the root. */
export function folderOf(file: string): string {
  const folder = dirname(file);
  return folder === '.' ? '' : folder;
}
