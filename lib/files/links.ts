// Links in the place of files and folders of ours. What one leads to may be somebody else's.
import { lstat } from 'node:fs/promises';
import { EmoframeError } from '../errors.js';

/** Whether a name stands for a link. */
export async function isLink(path: string): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined);
  return stats?.isSymbolicLink() ?? false;
}

/** A name of ours that leads elsewhere. */
export function linkError(path: string, cause?: unknown): EmoframeError {
  return new EmoframeError(
    'ERR_WRITE',
    `Could not write ${path}: it is a link, and what it leads to may be somebody else's; remove the link.`,
    { file: path, cause },
  );
}
