import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { digest, makeEngine, trainAndEncode } from '../support/busyEngine.js';

const test = suite('threads');
const support = new URL('../support/', import.meta.url);

/** A worker thread, its first message or its failure, and its exit code. */
function start(workerData) {
  const worker = new Worker(new URL('engineWorker.js', support), { workerData });
  const message = new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  return { worker, message, exit: new Promise((resolve) => worker.once('exit', resolve)) };
}

/** Runs a module's text in a process of its own, where a crash shows as a signal. */
function runProcess(body) {
  const head = `import { makeEngine, noise } from ${JSON.stringify(new URL('busyEngine.js', support).href)};`;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', `${head}\n${body}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (part) => {
      stdout += part;
    });
    child.stderr.on('data', (part) => {
      stderr += part;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

async function alone() {
  const made = await makeEngine();
  try {
    return digest(await trainAndEncode(made));
  } finally {
    made.engine.dispose();
  }
}

test('engines of four worker threads and of the main one work at once and give the bits of one alone', async () => {
  const expected = await alone();
  const started = [1, 2, 1, 2].map((threads) => start({ repeat: 3, threads }));
  const meanwhile = await Promise.all([alone(), alone()]);
  for (const { message, exit } of started) {
    assert.equal(await message, Array(3).fill(expected));
    assert.is(await exit, 0);
  }
  assert.equal(meanwhile, [expected, expected]);
});

test('a worker thread that is terminated in the middle of native work ends alone', async () => {
  const expected = await alone();
  const busy = [start({ busy: true }), start({ busy: true })];
  await Promise.all(busy.map(({ message }) => message));
  const { engine, model } = await makeEngine();
  const work = trainAndEncode({ model });
  for (const { worker } of busy) assert.is(await worker.terminate(), 1);
  assert.is(digest(await work), expected);
  engine.dispose();
  assert.is(await alone(), expected);
});

/** A crash shows only at some moments of a call, which these are spread over. */
const moments = [0, 7, 14, 21];
const busyBody = (moment) => `
  const { model } = await makeEngine({ threads: 2 });
  const batch = noise(model, 20);
  const work = Array.from({ length: 50 }, () => model.encode(batch, 'output'));
  await work[0];
  await new Promise((resolve) => setTimeout(resolve, ${moment}));
`;

test('process.exit in the middle of native work ends the process with its code', async () => {
  for (const moment of moments) {
    const { code, signal, stderr } = await runProcess(`${busyBody(moment)} process.exit(7);`);
    assert.equal({ code, signal, stderr }, { code: 7, signal: null, stderr: '' });
  }
});

test('an exception that nobody catches in the middle of native work is reported and ends the process', async () => {
  for (const moment of moments) {
    const { code, signal, stderr } = await runProcess(
      `${busyBody(moment)} setImmediate(() => { throw new Error('mishap'); });`,
    );
    assert.equal({ code, signal }, { code: 1, signal: null });
    assert.match(stderr, /Error: mishap/);
  }
});

test('an engine with work to do keeps the process alive, an idle one does not', async () => {
  const { code, stdout, stderr } = await runProcess(`
    const { model } = await makeEngine({ threads: 2 });
    model.encode(noise(model, 5), 'output').then(({ hidden }) => process.stdout.write(String(hidden.length)));
  `);
  assert.equal({ code, stdout, stderr }, { code: 0, stdout: String(249 * 16), stderr: '' });
});

test('the addon can be loaded again in the same thread', async () => {
  const expected = await alone();
  const require = createRequire(import.meta.url);
  const load = require('node-gyp-build');
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const first = load(root);
  delete require.cache[load.resolve(root)];
  const second = load(root);
  assert.is.not(first, second);
  for (const binding of [first, second]) {
    const engine = binding.createEngine({ device: 'cpu', threads: 1, memoryLimit: 0, graphs: true });
    assert.is(engine.device, 'cpu');
    engine.dispose();
  }
  assert.is(await alone(), expected);
});

test.run();
