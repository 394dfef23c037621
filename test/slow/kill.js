// Kills `emoframe run` at random moments and resumes it, many times over, and compares what it comes to with an undisturbed
// run, file by file and bit by bit. The first kill of a round comes at a moment of a stage, the stages taking turns; of further
// ones half come so, half before a call to the file system, where there is most to be broken. Parts run at one or two threads
// at random, which must not matter either.
//
//   node test/slow/kill.js                       the short form: under a minute on two free cores
//   node test/slow/kill.js --long --rounds 20    both forms in both precisions, 20 rounds each
//   node test/slow/kill.js --seed 7 --threads 2  other moments; always two threads
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { stageNames } from '../../dist/run/stages.js';
import { probe } from '../support/fileSystemCalls.js';
import { killedConfigs } from '../support/killedRuns.js';
import { differences, runContents } from '../support/runContents.js';
import { generator } from '../support/syntheticRun.js';
import { writeTinyCorpus } from '../support/tinyCorpus.js';

const program = join(dirname(fileURLToPath(import.meta.url)), '../../dist/cli/main.js');

const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    threads: { type: 'string' },
  },
});
const rounds = Number(values.rounds ?? (values.long ? 10 : 4));
const seed = Number(values.seed);
const fixedThreads = values.threads === undefined ? undefined : Number(values.threads);
if (![rounds, seed, fixedThreads ?? 1].every((value) => Number.isInteger(value) && value >= 0)) {
  process.stderr.write('kill: expected non-negative integers for --rounds, --seed and --threads.\n');
  process.exit(2);
}
const variants = values.long
  ? [
      { form: 'base', precision: 'fp32', folds: 's2,s3' },
      { form: 'base', precision: 'bf16', folds: 's3' },
      { form: 'large', precision: 'fp32', folds: 's3' },
      { form: 'large', precision: 'bf16', folds: 's3' },
    ]
  : [
      { form: 'base', precision: 'fp32', folds: 's3' },
      { form: 'large', precision: 'bf16', folds: 's3' },
    ];

const random = generator(seed);
// Seeds that are near each other begin alike.
for (let skipped = 0; skipped < 8; skipped++) random();
const whole = (below) => Math.floor(random() * below);
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-kill-'));
const manifest = writeTinyCorpus(join(scratch, 'corpus'));
const killsAt = new Map();
const count = (what) => killsAt.set(what, (killsAt.get(what) ?? 0) + 1);

/**
 * Runs to the end, or until `plan` kills it: `{ call }` before that call to the file system, `{ stage, milliseconds }` so long
 * after the stage has begun (`opening`: after the process has). Gives when each stage began, in ms.
 */
function emoframe({ out, config, folds, precision, threads, resume = false, plan = {}, callsFile = '' }) {
  const words = ['run', manifest, '--config', config, '--out', out, '--folds', folds, '--precision', precision];
  words.push('--threads', String(threads), ...(resume ? ['--resume'] : []));
  const env = { ...process.env, GOMP_SPINCOUNT: '20000', CALLS_FILE: callsFile };
  if (plan.call !== undefined) env.KILL_AT_CALL = String(plan.call);
  const started = performance.now();
  const child = spawn(process.execPath, [...probe, program, ...words], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const begun = { opening: 0 };
  let timer;
  const killAfter = (milliseconds) => {
    timer = setTimeout(() => child.kill('SIGKILL'), milliseconds);
  };
  if (plan.stage === 'opening') killAfter(plan.milliseconds);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
    for (const [, stage] of stderr.matchAll(/^\S+ · (\w+)/gm)) {
      if (begun[stage] !== undefined) continue;
      begun[stage] = performance.now() - started;
      if (stage === plan.stage) killAfter(plan.milliseconds);
    }
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stderr, begun, ended: performance.now() - started });
    });
  });
}

/** Every entry of a directory tree whose name begins with a dot: what a kill left half done. */
function temporaries(directory) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true }).filter((path) => /(^|\/)\.[^/]*$/.test(path));
}

/** Notes where a kill hit; gives the share of stages that are still to be done. */
function noteHit(out, folds, begun) {
  const stages = folds
    .split(',')
    .flatMap((fold) => stageNames.map((stage) => ({ stage, done: join(out, 'folds', fold, stage, 'done.json') })));
  const undone = stages.filter(({ done }) => !existsSync(done));
  count(Object.keys(begun).length === 1 ? 'opening' : (undone[0]?.stage ?? 'closing'));
  const left = temporaries(out);
  if (left.some((path) => path.includes('.step-'))) count('writing a checkpoint');
  else if (left.length > 0) count('writing a result');
  return undone.length / stages.length;
}

/** How long each stage takes, from a run that was not disturbed. */
function durations({ begun, ended }) {
  const moments = Object.entries(begun).sort((a, b) => a[1] - b[1]);
  return moments.map(([stage, from], index) => ({ stage, milliseconds: (moments[index + 1]?.[1] ?? ended) - from }));
}

const results = { passed: 0, failed: 0 };
function check(name, problem) {
  results[problem === undefined ? 'passed' : 'failed']++;
  process.stdout.write(`${problem === undefined ? 'ok' : 'FAILED'}  ${name}${problem ? `: ${problem}` : ''}\n`);
}

const differing = (reference, out) => {
  const paths = differences(reference, runContents(out));
  return paths.length === 0 ? undefined : `${paths.length} paths differ in ${out}: ${paths.slice(0, 8).join(', ')}`;
};

async function checkVariant({ form, precision, folds }) {
  const name = `${form} ${precision}`;
  const directory = join(scratch, `${form}-${precision}`);
  mkdirSync(directory);
  const config = join(directory, 'config.json');
  writeFileSync(config, JSON.stringify(killedConfigs[form]));
  const request = { config, folds, precision };
  const callsFile = join(directory, 'calls.json');

  const undisturbed = { ...request, out: join(directory, 'undisturbed', 'run'), threads: fixedThreads ?? 1, callsFile };
  const first = await emoframe(undisturbed);
  if (first.code !== 0) return check(`${name}, undisturbed`, first.stderr);
  const reference = runContents(undisturbed.out);
  const calls = JSON.parse(readFileSync(callsFile, 'utf8')).length;
  const timing = durations(first);
  process.stdout.write(
    `${name}: ${calls} calls that write; ${timing.map(({ stage, milliseconds }) => `${stage} ${Math.round(milliseconds)} ms`).join(', ')}\n`,
  );

  const other = { ...request, out: join(directory, 'threads', 'run'), threads: undisturbed.threads === 1 ? 2 : 1 };
  const second = await emoframe(other);
  const threads = [undisturbed.threads, other.threads].sort().join(' and ');
  check(`${name}, ${threads} threads`, second.code === 0 ? differing(reference, other.out) : second.stderr);

  for (let round = 1; round <= rounds; round++) {
    const out = join(directory, `round-${round}`, 'run');
    const label = `${name}, round ${round}`;
    const plans = [];
    let problem;
    let kills = 1 + whole(3);
    let remaining = 1;
    for (let part = 0; ; part++) {
      const plan = kills === 0 ? {} : part === 0 ? nextFirstPlan(timing) : nextPlan(timing, calls, remaining);
      plans.push(plan);
      const run = await emoframe({
        ...request,
        out,
        plan,
        resume: part > 0,
        threads: fixedThreads ?? 1 + whole(2),
      });
      if (run.signal === 'SIGKILL') {
        remaining = noteHit(out, folds, run.begun);
        kills--;
        continue;
      }
      // A run that came to its end before its kill has nothing left to disturb.
      problem = run.code === 0 ? differing(reference, out) : run.stderr;
      break;
    }
    check(`${label} (${plans.map(shownPlan).join(', ')})`, problem);
    if (problem === undefined) rmSync(dirname(out), { recursive: true });
  }
}

let deck = [];

/** Of all stages in turn, in an order that is drawn anew when each has had one. */
function nextFirstPlan(timing) {
  if (deck.length === 0) {
    deck = timing.map(({ stage }) => ({ stage, order: random() })).sort((a, b) => a.order - b.order);
  }
  const { stage } = deck.pop();
  return { stage, milliseconds: random() * timing.find((timed) => timed.stage === stage).milliseconds };
}

/** A moment or a call of what remains: of a stage that is begun again or was not reached yet. */
function nextPlan(timing, calls, remaining) {
  if (random() < 0.5) return { call: whole(Math.ceil(calls * remaining)) };
  const ahead = timing.slice(-1 - Math.ceil(remaining * stageNames.length));
  const { stage, milliseconds } = random() < 0.1 ? timing[0] : ahead[whole(ahead.length)];
  return { stage, milliseconds: random() * milliseconds };
}

function shownPlan({ call, stage, milliseconds }) {
  if (call !== undefined) return `call ${call}`;
  return stage === undefined ? 'to the end' : `${stage} + ${milliseconds.toFixed(0)} ms`;
}

process.stdout.write(`seed ${seed}\n`);
for (const variant of variants) await checkVariant(variant);
const hits = [...killsAt].sort().map(([what, times]) => `${what} ${times}`);
const kills = [...killsAt].filter(([what]) => !what.startsWith('writing')).reduce((sum, [, times]) => sum + times, 0);
process.stdout.write(`${kills} kills: ${hits.join(', ')}\n`);
if (results.failed === 0) rmSync(scratch, { recursive: true });
else process.stdout.write(`What failed is kept in ${scratch}; --seed ${seed} draws the same plans.\n`);
process.stdout.write(`${results.passed} passed, ${results.failed} failed\n`);
process.exit(results.failed === 0 ? 0 : 1);
