// Folders with the parents that they lack. Node's own `recursive` says of most refusals, a dying disk's too, that there is no such
// folder.
import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from './read.js';

/**
 * Makes a folder, unless it is there. Gives the first that was made of it and its parents.
 *
 * @throws the system's errors
 */
export async function makeFolders(path: string): Promise<string | undefined> {
  let first: string | undefined;
  try {
    try {
      await mkdir(path);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT' || dirname(path) === path) throw error;
      first = await makeFolders(dirname(path));
      await mkdir(path);
    }
    return first ?? path;
  } catch (error) {
    // What is there already may be a folder.
    if (systemCode(error) === 'EEXIST' && (await stat(path)).isDirectory()) return first;
    throw error;
  }
}

/** The same at once. */
export function makeFoldersSync(path: string): void {
  try {
    try {
      mkdirSync(path);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT' || dirname(path) === path) throw error;
      makeFoldersSync(dirname(path));
      mkdirSync(path);
    }
  } catch (error) {
    if (systemCode(error) !== 'EEXIST' || !statSync(path).isDirectory()) throw error;
  }
}
