import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openLatestStep, removeSteps, saveStep } from '../../dist/training/savedSteps.js';
import { fileSystemCalls, killedAtCall } from '../support/fileSystemCalls.js';
import { refused } from '../support/refused.js';
import { readAll, storedForm } from '../support/storedTensors.js';

const test = suite('saved steps');
let scratch;
let directory;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-steps-'));
  directory = join(scratch, 'stage', 'checkpoint');
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

const numbers = (length, seed) => Float32Array.from({ length }, (_, i) => Math.sin(seed + i));
const trainingState = (step) => ({
  step,
  tensors: [{ name: 'encoder.a', shape: [3, 4], data: numbers(12, step) }],
  moments: [{ name: 'encoder.a', m: numbers(12, step + 1), v: numbers(12, step + 2) }],
  state: { best: { epoch: step } },
});
const never = (message) => assert.unreachable(message);
const save = (step) => saveStep(directory, storedForm(trainingState(step)));
const load = async (warn = never) => readAll(await openLatestStep(directory, warn));
const damage = (step) => truncateSync(join(directory, `step-${step}`, 'moments.safetensors'), 100);

test('none is none', async () => assert.is(await load(), undefined));

test('the newest is read, the one before it kept, older ones removed', async () => {
  for (const step of [9, 10, 200]) {
    await save(step);
    assert.equal(await load(), trainingState(step));
  }
  assert.equal(readdirSync(directory).sort(), ['step-10', 'step-200']);
  await removeSteps(directory);
  assert.is(await load(), undefined);
  assert.equal(readdirSync(join(scratch, 'stage')), []);
});

test('a damaged one is passed over for the one before it, and said to be', async () => {
  await save(10);
  await save(20);
  damage(20);
  const warnings = [];
  assert.equal(await load((message) => warnings.push(message)), trainingState(10));
  assert.is(warnings.length, 1);
  assert.match(warnings[0], /step-20\/moments\.safetensors is damaged: it has 100 bytes.* of update 10\./);
  // The whole one must outlive the next save, whose predecessor it is.
  await save(20);
  damage(20);
  assert.equal(await load(() => undefined), trainingState(10));
});

test('one that is not handed over is closed', async () => {
  await save(10);
  await save(20);
  damage(20);
  const full = new Error('the log cannot be written');
  const warn = () => {
    throw full;
  };
  await openLatestStep(directory, warn).then(assert.unreachable, (error) => assert.is(error, full));
  if (!existsSync('/proc/self/fd')) return;
  const open = readdirSync('/proc/self/fd').map((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`);
    } catch {
      // That of reading this list.
      return '';
    }
  });
  assert.equal(
    open.filter((path) => path.startsWith(directory)),
    [],
  );
});

test('when none is whole the refusal says what to do, and removes nothing', async () => {
  for (const step of [10, 20]) await save(step);
  damage(10);
  damage(20);
  const error = await refused(load(), 'ERR_CHECKPOINT_DAMAGED', /Restore a copy, or delete .*checkpoint to start/);
  assert.is(error.file, join(directory, 'step-20', 'moments.safetensors'));
  assert.equal(readdirSync(directory).sort(), ['step-10', 'step-20']);
  rmSync(join(directory, 'step-10'), { recursive: true });
  await refused(load(), 'ERR_CHECKPOINT_DAMAGED', /step-20/);
});

test('a copy that is put back under its name serves', async () => {
  await save(10);
  cpSync(directory, join(scratch, 'copy'), { recursive: true });
  damage(10);
  rmSync(directory, { recursive: true });
  cpSync(join(scratch, 'copy'), directory, { recursive: true });
  assert.equal(await load(), trainingState(10));
});

test('a copy that is put back under another name is refused', async () => {
  await save(10);
  renameSync(join(directory, 'step-10'), join(directory, 'step-12'));
  await refused(load(), 'ERR_CHECKPOINT_DAMAGED', /step-12 is damaged: .* after update 10/);
});

test("a writer that was killed at another step leaves nothing for good, and others' files stay", async () => {
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  await save(10);
  mkdirSync(join(directory, `.step-15.new-${pid}-0123abcd`));
  writeFileSync(join(directory, 'notes.txt'), 'mine');
  await save(20);
  assert.equal(readdirSync(directory).sort(), ['notes.txt', 'step-10', 'step-20']);
});

// The program of a child that saves step 3.
const program = `
  import { saveStep } from ${JSON.stringify(new URL('../../dist/training/savedSteps.js', import.meta.url).href)};
  import { storedForm } from ${JSON.stringify(new URL('../support/storedTensors.js', import.meta.url).href)};
  const numbers = ${numbers};
  const trainingState = ${trainingState};
  startCounting();
  await saveStep(process.argv[1], storedForm(trainingState(3)));`;

test('killed before any one of its file-system calls, a save leaves the newest whole, old or new', async () => {
  for (const step of [1, 2]) await save(step);
  const two = join(scratch, 'two');
  cpSync(directory, two, { recursive: true });
  const calls = fileSystemCalls(program, [directory]);
  assert.ok(calls.length > 20, `${calls.length} calls`);
  let before = 0;
  for (let call = 0; call < calls.length; call++) {
    rmSync(directory, { recursive: true });
    cpSync(two, directory, { recursive: true });
    const { signal } = killedAtCall(program, [directory], call);
    assert.is(signal, 'SIGKILL', `call ${call}`);
    const found = await load();
    assert.ok(found.step === 2 || found.step === 3, `step ${found.step} after call ${call}`);
    assert.equal(found, trainingState(found.step));
    if (found.step === 2) before++;
    await save(4);
    assert.equal(readdirSync(directory).sort(), [`step-${found.step}`, 'step-4'], `after call ${call}`);
  }
  assert.ok(before > 10 && before < calls.length, `${before} of ${calls.length} left the old one`);
});

test('killed before any one of its calls, the writer of a file leaves the old bytes or the new', () => {
  const module = new URL('../../dist/files/atomic.js', import.meta.url).href;
  const writer = `
    import { writeFileAtomic } from ${JSON.stringify(module)};
    startCounting();
    await writeFileAtomic(process.argv[1], 'new');`;
  const calls = fileSystemCalls(writer, [join(scratch, 'labels')]);
  const left = calls.map((_, call) => {
    // A folder each: what one kill left would be one more call for the next.
    const file = join(mkdtempSync(join(scratch, 'kill-')), 'labels');
    writeFileSync(file, 'old');
    assert.is(killedAtCall(writer, [file], call).signal, 'SIGKILL');
    return readFileSync(file, 'utf8');
  });
  assert.equal([...new Set(left)], ['old', 'new'], left.join(' '));
});

test.run();
