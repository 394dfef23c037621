// What may befall a run that was killed and is resumed: a full disk, a folder that may not be written, a training state that was
// cut short. Each time it says what is wrong and leaves what was whole, and then comes to the bits of a run without trouble.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openLatestStep } from '../../dist/training/savedSteps.js';
import { probe } from '../support/fileSystemCalls.js';
import { killedConfigs } from '../support/killedRuns.js';
import { differences, runContents } from '../support/runContents.js';
import { readAll } from '../support/storedTensors.js';
import { writeTinyCorpus } from '../support/tinyCorpus.js';

const test = suite('refused writes');
const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
let scratch;
let manifest;
let config;
let reference;
let run;
const statesIn = (out = run) => join(out, 'folds', 's3', 'mfcc', 'checkpoint');

/** Words of a run from scratch to its end. */
const wordsFor = (out) => ['run', manifest, '--config', config, '--out', out, '--folds', 's3', '--threads', '1'];

/** Runs the program, behind another one (`before`) if given: `{ status, signal, stderr }`. */
function emoframe(out, { resume = true, before = [], env = {}, node = [] } = {}) {
  const words = [...before, process.execPath, ...node, program, ...wordsFor(out), ...(resume ? ['--resume'] : [])];
  return spawnSync(words[0], words.slice(1), { env: { ...process.env, ...env }, encoding: 'utf8' });
}

const failedWith = ({ status, stderr }, code, pattern) => {
  assert.is(status, 1, stderr);
  assert.match(stderr, new RegExp(`^emoframe: [^\\n]* \\(${code}\\)$`, 'm'));
  assert.match(stderr, pattern);
};

/** The run as it was killed, to be spoiled. */
function copyOf(name) {
  const out = join(scratch, name, 'run');
  cpSync(run, out, { recursive: true });
  return out;
}

async function newest(out) {
  const warnings = [];
  const { step } = await readAll(await openLatestStep(statesIn(out), (warning) => warnings.push(warning)));
  assert.equal(warnings, []);
  return step;
}

test.before(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-refused-'));
  manifest = writeTinyCorpus(join(scratch, 'corpus'));
  config = join(scratch, 'config.json');
  const { mfcc, ...rest } = killedConfigs.base;
  writeFileSync(config, JSON.stringify({ ...rest, mfcc: { ...mfcc, updates: 10 } }));
  const whole = join(scratch, 'whole', 'run');
  const callsFile = join(scratch, 'calls.json');
  const { status, stderr } = emoframe(whole, { resume: false, node: probe, env: { CALLS_FILE: callsFile } });
  assert.is(status, 0, stderr);
  reference = runContents(whole);

  // Killed when its second state has come to its place and the first is still there.
  const calls = JSON.parse(readFileSync(callsFile, 'utf8'));
  const second = calls.findIndex(({ call, to }) => call === 'rename' && to?.endsWith('/mfcc/checkpoint/step-4'));
  run = join(scratch, 'killed', 'run');
  const killed = emoframe(run, { resume: false, node: probe, env: { KILL_AT_CALL: String(second + 2) } });
  assert.is(killed.signal, 'SIGKILL', killed.stderr);
  assert.equal(readdirSync(statesIn()).sort(), ['step-2', 'step-4']);
});
test.after(() => rmSync(scratch, { recursive: true, force: true }));

test('a limit on file sizes: the refusal names the file and the limit; the last training state is whole', async () => {
  const out = copyOf('limited');
  const limit = statSync(join(statesIn(out), 'step-4', 'model.safetensors')).size - 1;
  const limited = emoframe(out, { before: ['prlimit', `--fsize=${limit}`] });
  failedWith(limited, 'ERR_WRITE', /Could not write \S+step-6\S+: .*ulimit -f/);
  assert.is(await newest(out), 4);
  assert.equal(readdirSync(statesIn(out)), ['step-4'], 'nothing half written is left');
});

/** Runs a shell script where a small file system can be mounted, or says that there is no such place. */
function withMounts(script) {
  for (const namespace of [
    ['unshare', '--mount'],
    ['unshare', '--mount', '--map-root-user'],
  ]) {
    const [command, ...options] = namespace;
    const { status } = spawnSync(command, [...options, 'sh', '-c', 'mount -t tmpfs -o size=64k none /mnt']);
    if (status === 0) return spawnSync(command, [...options, 'sh', '-ec', script], { encoding: 'utf8' });
  }
  return undefined;
}

const quoted = (words) => words.map((word) => `'${word}'`).join(' ');

test('a full disk: the refusal says so; with space again the run comes to its end and to the same bits', async () => {
  const disk = join(scratch, 'disk');
  const out = join(disk, 'run');
  mkdirSync(disk);
  const command = quoted([process.execPath, program, ...wordsFor(out), '--resume']);
  const half = Math.ceil(statSync(join(statesIn(), 'step-4', 'model.safetensors')).size / 2);
  const found = withMounts(`
    mount -t tmpfs -o size=64m none '${disk}'
    cp -r '${run}' '${out}'
    rm -r '${statesIn(out)}/step-2'
    free=$(df --output=avail -B1 '${disk}' | tail -1)
    head -c $((free - ${half})) /dev/zero > '${disk}/ballast'
    set +e
    ${command} 2> '${scratch}/full.txt' > '${scratch}/full.out'
    echo $? > '${scratch}/full.status'
    set -e
    cp -r '${out}/folds/s3/mfcc/checkpoint' '${scratch}/full-checkpoint'
    rm '${disk}/ballast'
    ${command}
    cp -r '${out}' '${scratch}/recovered'`);
  if (found === undefined) {
    // Where nothing can be mounted, a limit that is met elsewhere: in the log, not in a training state.
    const limited = emoframe(run, { before: ['prlimit', `--fsize=${statSync(join(run, 'log.jsonl')).size + 50}`] });
    return failedWith(limited, 'ERR_WRITE', /Could not write .*ulimit -f/);
  }
  assert.is(found.status, 0, found.stderr);
  const full = {
    status: Number(readFileSync(join(scratch, 'full.status'))),
    stderr: readFileSync(join(scratch, 'full.txt'), 'utf8'),
  };
  failedWith(full, 'ERR_WRITE', /Could not write \S+: the disk is full; free some space/);
  assert.equal(readdirSync(join(scratch, 'full-checkpoint')), ['step-4']);
  assert.equal(differences(reference, runContents(join(scratch, 'recovered'))), []);
});

/** What goes before a command so that permissions count for root too. */
const obedient =
  process.getuid() === 0
    ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--inh-caps=-dac_override,-dac_read_search']
    : [];

test('a folder that may not be written: the refusal names it; the last training state is whole', async () => {
  const locked = join(scratch, 'locked');
  mkdirSync(locked, { mode: 0o555 });
  const begun = emoframe(join(locked, 'run'), { resume: false, before: obedient });
  failedWith(begun, 'ERR_WRITE', /Could not write \S+locked\/run\S*: permission denied; choose a place/);

  const out = copyOf('read-only');
  chmodSync(statesIn(out), 0o555);
  try {
    failedWith(emoframe(out, { before: obedient }), 'ERR_WRITE', /Could not write \S+checkpoint\S*: permission denied/);
    assert.is(await newest(out), 4);
  } finally {
    chmodSync(statesIn(out), 0o755);
  }
});

test('a training state that is cut short with none before it: the run stops, says what to do and removes nothing', () => {
  const out = copyOf('cut');
  rmSync(join(statesIn(out), 'step-2'), { recursive: true });
  const file = join(statesIn(out), 'step-4', 'moments.safetensors');
  const whole = readFileSync(file);
  for (const [bytes, what] of [
    [whole.subarray(0, whole.length - 512), 'bytes instead of'],
    // What a file system gives back whose names were on disk before the bytes.
    [Buffer.alloc(whole.length), 'its contents are not what was written'],
  ]) {
    writeFileSync(file, bytes);
    const stopped = emoframe(out);
    failedWith(stopped, 'ERR_CHECKPOINT_DAMAGED', new RegExp(`moments\\.safetensors is damaged: .*${what}`));
    assert.match(stopped.stderr, /delete \S+checkpoint to start this stage again; the stages before it are kept/);
    assert.ok(existsSync(file));
  }
  writeFileSync(file, whole);
});

test('a newest training state that is cut short: the run says so, goes on from the one before and comes to the same bits', () => {
  truncateSync(join(statesIn(), 'step-4', 'model.safetensors'), 1000);
  const { status, stderr } = emoframe(run);
  assert.is(status, 0, stderr);
  assert.match(
    stderr,
    /^s3 · mfcc: warning: \S+step-4\/model\.safetensors is damaged: it has 1000 bytes .* of update 2\.$/m,
  );
  const log = join(run, 'log.jsonl');
  const lines = readFileSync(log, 'utf8').split('\n');
  assert.is(lines.filter((line) => line.includes('"warning"')).length, 1);
  writeFileSync(log, lines.filter((line) => !line.includes('"warning"')).join('\n'));
  assert.equal(differences(reference, runContents(run)), []);

  // As a kill leaves a stage between the mark that it is done and the removal of its training states.
  cpSync(join(scratch, 'cut', 'run', 'folds', 's3', 'mfcc', 'checkpoint'), statesIn(), { recursive: true });
  assert.is(emoframe(run).status, 0);
  assert.equal(differences(reference, runContents(run)), []);
});

test.run();
