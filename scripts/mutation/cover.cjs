// Loaded by every Node process and thread of the first run of a test file: writes down, as it happens, which mutants the file
// reaches. At once rather than at the end, since some of these processes are killed.
const { openSync, writeSync } = require('node:fs');

const out = process.env.EMOFRAME_REACHED;
if (out) {
  let file;
  const reached = new Proxy(
    {},
    {
      set(target, id, count) {
        if (target[id] === undefined) {
          file ??= openSync(out, 'a');
          writeSync(file, `${id}\n`);
        }
        target[id] = count;
        return true;
      },
    },
  );
  globalThis.__stryker__ = { mutantCoverage: { static: reached, perTest: {} } };
}
