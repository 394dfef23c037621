// Under a limit of the system on memory (ulimit -v), work that finds none fails as it says, and the process goes on.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('limit of memory');
const dir = mkdtempSync(join(tmpdir(), 'emoframe-limit-'));
test.after(() => rmSync(dir, { recursive: true, force: true }));

/** What a small, a large and again a small prediction end in, and the most that the process took, in KiB. */
const program = `
  import { readFileSync } from 'node:fs';
  const { EmotionModel } = await import(${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)});
  const model = await EmotionModel.load(process.argv[1], { threads: 2 });
  const ends = [];
  for (const seconds of [2, 120, 2]) {
    const samples = Float32Array.from({ length: 16000 * seconds }, (_, i) => Math.sin(i / 7) * Math.sin(i / 977));
    const work = model.predict(samples, { windowSeconds: 120 });
    ends.push(await work.then(({ label }) => label, ({ code }) => code));
  }
  await model.dispose();
  const peak = Number(/VmPeak:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
  console.log(JSON.stringify({ ends, peak }));
`;

function run(model, limit) {
  const node = [process.execPath, '--input-type=module', '-e', program, model];
  const { stdout, stderr, signal, status } = spawnSync('sh', ['-c', `ulimit -v ${limit} && exec "$@"`, 'sh', ...node], {
    encoding: 'utf8',
  });
  assert.is(signal ?? status, 0, `with ${limit} KiB: ${stderr}`);
  return JSON.parse(stdout);
}

test('a pass that finds no memory ends in ERR_OUT_OF_MEMORY, and a smaller one goes on', async () => {
  const model = await writeTinyPredictor(join(dir, 'model'));
  const free = run(model, 'unlimited');
  const [small, large] = free.ends;
  let refused = 0;
  for (const less of [25, 50, 75]) {
    const { ends } = run(model, free.peak - 1024 * less);
    assert.ok([small, 'ERR_OUT_OF_MEMORY'].includes(ends[0]), ends[0]);
    assert.ok([large, 'ERR_OUT_OF_MEMORY'].includes(ends[1]), ends[1]);
    // The large one gave back what it had.
    if (ends[0] === small) assert.is(ends[2], small, `${less} MiB less: ${ends}`);
    if (ends.includes('ERR_OUT_OF_MEMORY')) refused++;
  }
  assert.ok(refused > 0);
});

test.run();
