// Whether a disturbed command ended as it should: with its undisturbed result, or with one clear error.
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { lockName } from '../../../dist/run/lock.js';
import { differences } from '../../support/runContents.js';

/** How a message says what the disk answered. */
const causes = {
  EIO: /EIO/,
  ENOSPC: /ENOSPC|disk is full/,
  EDQUOT: /EDQUOT|quota/,
  EINTR: /EINTR/,
  EMFILE: /EMFILE|too many open files/,
  EROFS: /EROFS|read-only/,
};
const codes = ['ERR_WRITE', 'ERR_READ', 'ERR_AUDIO_CACHE', 'ERR_AUDIO'];

/** What differs from the undisturbed result. */
export function difference(scenario, directory) {
  if (!existsSync(directory)) return 'there is nothing';
  let contents;
  try {
    contents = scenario.contents(directory);
  } catch (error) {
    // A file that is cut short is not even JSON.
    return `it cannot be read: ${error.message}`;
  }
  const paths = differences(scenario.after, contents);
  return paths.length === 0 ? undefined : `${paths.length} paths differ: ${paths.slice(0, 5).join(', ')}`;
}

/** A lock's file that could not be removed means nothing. */
function onlyLock(scenario, directory) {
  const paths = differences(scenario.after, scenario.contents(directory));
  return paths.every((path) => path === lockName);
}

/** What is wrong with how a command ended that was disturbed; nothing where all is well. */
export function problemOf(outcome, { scenario, mode, directory, place, fault }) {
  const { code, signal, line, behind, hangs } = outcome;
  if (hangs) return 'it hangs';
  if (mode.effect?.startsWith('kill')) return signal === 'SIGKILL' ? undefined : `it survived: ${code} ${line}`;
  if (signal) return `it died of ${signal}: ${behind.join(' ')}`;
  if (behind.length > 0) return `${line ?? 'it succeeded'}, and: ${behind.join(' | ')}`;
  if (code === 0 && scenario.prints) {
    // A list of what is wrong with a corpus may tell of it too.
    const printed = outcome.printed.replaceAll(place, '');
    if (printed !== scenario.printed && !causes[mode.error]?.test(printed)) return `it printed ${printed}`;
  }
  if (code === 0)
    return scenario.lenient || onlyLock(scenario, directory) ? undefined : difference(scenario, directory);
  if (mode.unseen) return `it failed: ${line}`;
  const [, message, errorCode] = /^emoframe: (.+) \((ERR_[A-Z_]+)\)$/.exec(line ?? '') ?? [];
  if (code !== 1 || message === undefined) return `it ended with ${code}: ${line}`;
  if (!codes.includes(errorCode)) return `another code: ${line}`;
  if (!causes[mode.error].test(message)) return `the cause is not named: ${line}`;
  if (!names(message, fault.path, place)) return `${fault.path} is not named: ${line}`;
}

/**
 * Whether the message names what the first failed call was for: the file or a folder that it is in, as each may be what was
 * being written, a temporary or a lock by the name that it is for; or something in a folder that could not be made or forced to disk.
 */
function names(message, path, place) {
  const intended = path.replaceAll(/\/\.([^/]+?)\.(?:new-[^/]+|ready|old|lock)(?=\/|$)/g, '/$1');
  for (let named = intended; named.length > place.length; named = dirname(named)) {
    if (message.includes(named)) return true;
  }
  return message.includes(`${intended}/`);
}
