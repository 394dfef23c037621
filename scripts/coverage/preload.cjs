// Loaded by every Node process and thread of a measured suite (NODE_OPTIONS): counts how often which block of dist runs, and leaves the
// counts in $EMOFRAME_COVERAGE in the form of V8. Node's own NODE_V8_COVERAGE keeps the counts of all packages and reads all source
// maps at each start, which costs three times as much.
const { mkdirSync, writeFileSync } = require('node:fs');
const { Session } = require('node:inspector');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { isMainThread, threadId } = require('node:worker_threads');

const folder = process.env.EMOFRAME_COVERAGE;
const dist = `${pathToFileURL(join(__dirname, '..', '..', 'dist'))}/`;
if (folder) {
  const session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  let saved = 0;
  // What has run since the last time.
  const save = () => {
    session.post('Profiler.takePreciseCoverage', (error, counted) => {
      if (error) throw error;
      const result = counted.result.filter(({ url }) => url.startsWith(dist));
      if (result.length === 0) return;
      mkdirSync(folder, { recursive: true });
      const name = `coverage-${process.pid}-${Date.now()}-${threadId}-${saved++}.json`;
      writeFileSync(join(folder, name), JSON.stringify({ result }));
    });
  };
  process.on('exit', save);
  if (!isMainThread) {
    // A thread that is terminated hears of no exit.
    let wait = 50;
    const again = () => {
      save();
      wait = Math.min(2 * wait, 1000);
      setTimeout(again, wait).unref();
    };
    setTimeout(again, wait).unref();
  }
}
