// The audio files of a command: those named on the command line, those in folders named there, and those of a list, since ten
// thousand paths do not fit on every command line.
import { readdir } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { probeAudio } from '../audio/decode.js';
import { readError, readText, statOfNamed } from '../files/read.js';
import type { NamedAudio } from '../predict/predictMany.js';
import { text, UsageError } from './options.js';

const endings = ['.wav', '.flac', '.mp3', '.ogg', '.oga', '.opus'];

/** Bytes; of some million paths. */
const longestList = 2 ** 28;

export const listOption = text('FILE', "also the files listed in FILE, one per line; '-': standard input");

/**
 * The audio files of a command line, in its order; for a folder, all files in and below it with the extension of audio, sorted.
 *
 * @param list the value of `listOption`.
 * @throws `ERR_USAGE` when there are none, or a folder holds none; `ERR_FILE_NOT_FOUND`, `ERR_READ`.
 */
export async function audioFiles(named: readonly string[], list: string | undefined): Promise<string[]> {
  const files: string[] = [];
  for (const path of [...named, ...(list === undefined ? [] : await readList(list))]) {
    // Anything but a folder is left to the decoder, which gives the best error for a bad file.
    const found = await statOfNamed(path);
    if (!found?.isDirectory()) {
      files.push(path);
      continue;
    }
    const inside = await filesIn(path);
    if (inside.length === 0) throw new UsageError(`There is no audio file (${endings.join(', ')}) in ${path}.`);
    for (const file of inside) files.push(file);
  }
  if (files.length === 0) throw new UsageError('Expected at least one audio file.');
  return files;
}

/** Each channel of each file as a separate audio, `NAME#1`, `NAME#2`; an unreadable file is passed on, to fail when it is decoded. */
export async function* splitChannels(named: readonly NamedFile[]): AsyncGenerator<NamedAudio> {
  for (const { id, audio } of named) {
    const channelCount = await probeAudio(audio).then(
      (info) => info.channelCount,
      () => undefined,
    );
    if (channelCount === undefined) yield { id, audio };
    for (let channel = 1; channel <= (channelCount ?? 0); channel++) {
      yield { id: `${id}#${channel}`, audio: { path: audio, channel } };
    }
  }
}

/** A file with a name. */
export interface NamedFile extends NamedAudio {
  readonly audio: string;
}

/** A name for each file: its base name without extension, or its path if several share that name. */
export function nameAudio(files: readonly string[]): NamedFile[] {
  const nameOf = (path: string) => basename(path, extname(path));
  const counts = new Map<string, number>();
  for (const file of files) counts.set(nameOf(file), (counts.get(nameOf(file)) ?? 0) + 1);
  return files.map((audio) => ({ id: counts.get(nameOf(audio)) === 1 ? nameOf(audio) : audio, audio }));
}

async function readList(list: string): Promise<string[]> {
  const content = list === '-' ? await textOf(process.stdin) : await readText(list, longestList);
  return content.split(/\r?\n/).filter((line) => line !== '');
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    throw readError(folder, error);
  });
  return entries
    .filter((entry) => entry.isFile() && endings.includes(extname(entry.name).toLowerCase()))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}
