// Failures that no input brings about: the system refuses, or the package itself is wrong. Each in a process of its own.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { refused } from '../support/refused.js';

const dist = new URL('../../dist/', import.meta.url).href;

async function runModule(source) {
  const code = source.replaceAll('DIST/', dist);
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code]);
  return JSON.parse(stdout);
}

test('where the system gives no thread, an engine is refused with ERR_INTERNAL and the process lives', async () => {
  const { code, message } = await runModule(`
    import { execFileSync } from 'node:child_process';
    import { readFileSync } from 'node:fs';
    import { Engine } from 'DIST/index.js';
    import { binding } from 'DIST/model/binding.js';
    binding().describe();
    // A little more address space than is used now, and far less than a thread's stack.
    const kilobytes = Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + (kilobytes + 2048) * 1024 + ':unlimited']);
    let reported = {};
    try {
      Engine.create({ threads: 1 });
    } catch ({ code, message }) {
      reported = { code, message };
    }
    execFileSync('prlimit', ['--pid', String(process.pid), '--as=unlimited:unlimited']);
    Engine.create({ threads: 1 }).dispose();
    console.log(JSON.stringify(reported));
  `);
  assert.is(code, 'ERR_INTERNAL');
  assert.match(message, /^The native engine failed: .+\.$/);
});

test('more threads than any machine has are refused at the door', () => {
  assert.throws(
    () => Engine.create({ threads: 1_000_000 }),
    (error) => error.code === 'ERR_ARGUMENT' && /from 0 to 1024 for threads but received 1000000/.test(error.message),
  );
});

test('what others have put into Object.prototype ends no process, and every promise is settled', async () => {
  const outcomes = await runModule(`
    import { Engine } from 'DIST/index.js';
    const engine = Engine.create({ threads: 1 });
    const outcome = async () => engine.memory().then(() => 'read', (error) => error.code ?? error.message);
    const refuses = { configurable: true, set() { throw new Error('set'); }, get() { throw new Error('get'); } };
    const outcomes = [];
    for (const name of ['then', 'held']) {
      Object.defineProperty(Object.prototype, name, refuses);
      const settled = outcome();
      await new Promise((resolve) => settled.finally(resolve));
      delete Object.prototype[name];
      outcomes.push(await settled);
    }
    // Of errors.
    Object.defineProperty(Object.prototype, 'code', { configurable: true, set() { throw new Error('set'); }, get() {} });
    const settled = engine.kmeans(new Float32Array(4), 2, { clusters: 3, restarts: 1, algorithm: 'lloyd', batchSize: 1, maxIterations: 1, tolerance: 0, seed: 1 }).catch((error) => Object.hasOwn(error, 'code'));
    const late = new Promise((resolve) => setTimeout(resolve, 5000, 'never settled').unref());
    outcomes.push(await Promise.race([settled, late]));
    engine.dispose();
    console.log(JSON.stringify(outcomes));
  `);
  assert.equal(outcomes, ['get', 'set', true]);
});

test('a dimension that is no whole number is refused, and not cut', async () => {
  const engine = Engine.create({ threads: 1 });
  try {
    for (const dimension of [2.5, Number.NaN, 2 ** 60, '2', undefined]) {
      await refused(engine.assign(new Float32Array(8), new Float32Array(4), dimension), 'ERR_ARGUMENT', /dimension/);
    }
  } finally {
    engine.dispose();
  }
});

test('a number of restarts whose memory would wrap around is refused', async () => {
  const engine = Engine.create({ threads: 1 });
  try {
    const settings = { clusters: 2, algorithm: 'lloyd', batchSize: 8, maxIterations: 3, tolerance: 0, seed: 1 };
    const points = new Float32Array(64);
    await refused(
      engine.kmeans(points, 2, { ...settings, restarts: 2 ** 53 }),
      'ERR_CLUSTERS',
      /At most 1000000 restarts/,
    );
  } finally {
    engine.dispose();
  }
});

test("a number that is no integer does not reach the engine's arithmetic", async () => {
  const engine = Engine.create({ threads: 1 });
  try {
    const settings = {
      clusters: 2,
      restarts: 1,
      algorithm: 'lloyd',
      batchSize: 8,
      maxIterations: 3,
      tolerance: 0,
      seed: 1,
    };
    for (const clusters of [NaN, Infinity, 1.5, 2 ** 60]) {
      await refused(
        engine.kmeans(new Float32Array(64), 2, { ...settings, clusters }),
        'ERR_ARGUMENT',
        /Expected an integer for clusters/,
      );
    }
  } finally {
    engine.dispose();
  }
});

test('a fault of the program itself is reported as ERR_UNEXPECTED, in one line, with its stack where that is asked for', async () => {
  // Stands for a mistake in the code: what is called has a bug.
  const mistake = `data:text/javascript,${encodeURIComponent(`
    import files from 'node:fs/promises';
    import { syncBuiltinESMExports } from 'node:module';
    files.stat = () => { throw new TypeError('a mistake\\nof two lines'); };
    syncBuiltinESMExports();
  `)}`;
  const scratch = mkdtempSync(join(tmpdir(), 'emoframe-failures-'));
  try {
    const env = { NODE_OPTIONS: `--import ${mistake}` };
    const { code, stderr } = await emoframe(['corpus', scratch], { env });
    assert.is(code, 1);
    assert.is(
      stderr,
      'emoframe: a mistake of two lines (ERR_UNEXPECTED)\nRun again with EMOFRAME_DEBUG=1 to see the stack.\n',
    );
    const debugged = await emoframe(['corpus', scratch], { env: { ...env, EMOFRAME_DEBUG: '1' } });
    assert.match(debugged.stderr, /at readCorpus/);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

test('a fuzzed reader that breaks its promise is noticed: the harness separates a bad answer from a good one', async () => {
  const fuzz = fileURLToPath(new URL('../slow/fuzz.js', import.meta.url));
  const run = promisify(execFile);
  const keep = mkdtempSync(join(tmpdir(), 'emoframe-fuzz-kept-'));
  const words = [fuzz, '--reader', 'run-config', '--seed', '3', '--grown', join(keep, 'grown'), '--failures', keep];
  const { stdout } = await run(process.execPath, [...words, '--seconds', '2']);
  assert.match(stdout, /^run-config: \d+ inputs, .* 0 kinds of failures\n1 passed, 0 failed\n$/);
  // The same reader, with its refusals are not documented.
  const blind = `data:text/javascript,${encodeURIComponent(`
    import files from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const { readFileSync } = files;
    files.readFileSync = (path, ...rest) => String(path).endsWith('errors.md') ? 'ERR_READ' : readFileSync(path, ...rest);
    syncBuiltinESMExports();
  `)}`;
  try {
    const env = { ...process.env, NODE_OPTIONS: `--import ${blind}` };
    const failing = await run(process.execPath, [...words, '--seconds', '5'], { env }).catch((error) => error);
    assert.is(failing.code, 1);
    assert.match(
      failing.stdout,
      /threw a code that docs\/errors\.md does not have: ERR_CONFIG.*0 passed, 1 failed\n$/s,
    );
    const [, again] = /again: node \S+ --replay (\S+)/.exec(failing.stdout);
    assert.match(
      (await run(process.execPath, [fuzz, '--replay', again])).stdout,
      /run-config: 1 inputs, 0 failed \(ERR_CONFIG\)\n1 passed/,
    );
  } finally {
    rmSync(keep, { recursive: true, force: true });
  }
});

test.run();
