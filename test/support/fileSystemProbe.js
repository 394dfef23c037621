// Loaded into a child by `--import`: notes every call that changes the file system, and kills the process before the one
// whose number is in KILL_AT_CALL. Counting begins at once, or with COUNT_LATER=1 when the program calls `startCounting()`.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const killAt = Number(process.env.KILL_AT_CALL ?? 'NaN');
const calls = [];
let counting = process.env.COUNT_LATER !== '1';
globalThis.startCounting = () => {
  counting = true;
};

function note(call, path, to) {
  if (!counting) return;
  if (calls.length === killAt) process.kill(process.pid, 'SIGKILL');
  calls.push({ call, path: String(path), ...(to !== undefined && { to: String(to) }) });
}

const writes = (flags) => flags !== undefined && flags !== 'r';

function watch() {
  const { promises } = fs;
  for (const name of ['mkdir', 'rename', 'rm', 'cp']) {
    const original = promises[name];
    promises[name] = (...args) => {
      // A directory that is there already is asked for often, and changes nothing.
      if (name !== 'mkdir' || !fs.existsSync(args[0]))
        note(name, args[0], typeof args[1] === 'string' ? args[1] : undefined);
      return original.apply(promises, args);
    };
  }
  const { open } = promises;
  promises.open = async (path, flags, ...rest) => {
    if (writes(flags)) note('open', path);
    const handle = await open.call(promises, path, flags, ...rest);
    for (const name of ['write', 'writeFile', 'sync']) {
      const original = handle[name];
      handle[name] = (...args) => {
        note(name, path);
        return original.apply(handle, args);
      };
    }
    return handle;
  };

  const paths = new Map();
  const { openSync } = fs;
  fs.openSync = (path, flags, ...rest) => {
    if (writes(flags)) note('open', path);
    const descriptor = openSync(path, flags, ...rest);
    paths.set(descriptor, path);
    return descriptor;
  };
  for (const [name, call] of [
    ['writeSync', 'write'],
    ['fsyncSync', 'sync'],
    ['ftruncateSync', 'truncate'],
  ]) {
    const original = fs[name];
    fs[name] = (descriptor, ...rest) => {
      // Descriptors that were opened elsewhere are streams of the process.
      if (paths.has(descriptor)) note(call, paths.get(descriptor));
      return original(descriptor, ...rest);
    };
  }
  syncBuiltinESMExports();
  process.on('exit', () => {
    if (process.env.CALLS_FILE) fs.writeFileSync(process.env.CALLS_FILE, JSON.stringify(calls));
  });
}

// The threads that decode audio write nothing.
if (isMainThread) watch();
