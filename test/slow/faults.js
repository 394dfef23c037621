// Makes calls to the file system fail, fall short, come late or be the last of their process, one at a time and from one on, in a
// small run and in the other commands that write. Each must end with its undisturbed result or with one clear error; and run again
// undisturbed, it must come to its undisturbed result, bit by bit: nothing is lost.
//
//   node test/slow/faults.js                          the short form: each mode on each kind of call
//   node test/slow/faults.js --all                    every call of every scenario in every mode: a night
//   node test/slow/faults.js --each-file              of each kind of call the first and the last on each sort of file, and in each
//                                                     command: hours
//   node test/slow/faults.js --each-file --part 3/12  the third of twelve parts: each is a fair sample of all, and together they are all
//   node test/slow/faults.js --all --mode 'EIO|kill'  modes by name; --scenario 'tapt|export' likewise
//   node test/slow/faults.js --all --mode EIO --scenario tapt --from 10 --to 20   these calls, counted from 1
//   --program: as a user runs it, a process for each command, which takes ten times as long
import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildShim, FaultyDisk } from './faults/disk.js';
import { difference, problemOf } from './faults/judge.js';
import { modes } from './faults/modes.js';
import { runProgram, Worker } from './faults/programs.js';
import { makeScenarios, stages } from './faults/scenarios.js';

const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    'each-file': { type: 'boolean', default: false },
    mode: { type: 'string', default: '' },
    scenario: { type: 'string', default: '' },
    from: { type: 'string', default: '1' },
    to: { type: 'string', default: 'Infinity' },
    part: { type: 'string', default: '1/1' },
    lanes: { type: 'string', default: '2' },
    program: { type: 'boolean', default: false },
  },
});
const [from, to, lanes] = [values.from, values.to, values.lanes].map(Number);
const [part, parts] = values.part.split('/').map(Number);
if (!(part >= 1 && part <= parts)) throw new Error(`Expected a part such as 3/12 but received ${values.part}.`);
const golden = (Math.sqrt(5) - 1) / 2;
const chosen =
  (pattern) =>
  ({ name }) =>
    new RegExp(`^(?:${pattern || '.*'})$`).test(name);

// In memory where there is room: a real disk takes its time for every fsync.
const memory = '/dev/shm';
const roomy = existsSync(memory) && statfsSync(memory).bavail * statfsSync(memory).bsize > 2 ** 28;
const scratch = realpathSync(mkdtempSync(join(roomy ? memory : tmpdir(), 'emoframe-faults-')));
const library = buildShim(scratch);

/**
 * What files share that are written and read alike: the last two names of their paths, of any stage, step, time or utterance, whatever
 * makes a temporary's name its own.
 */
function sortOf(path) {
  const plain = path.replaceAll(/\.(?:new-|tfevents).*?(?=\/|$)/g, '').replaceAll(/[0-9a-f]{32,}|\d+/g, '#');
  return plain
    .split('/')
    .map((name) => (stages.includes(name) ? 'stage' : name))
    .slice(-2)
    .join('/');
}

/** Every call that a mode can disturb: `{ scenario, mode, at, kind }`. */
function casesOf(scenarios) {
  const cases = [];
  for (const mode of modes.filter(chosen(values.mode))) {
    for (const scenario of scenarios.filter(chosen(values.scenario))) {
      const calls = scenario.calls.filter(({ kind }) => mode.kinds.includes(kind));
      for (const [index, { kind, path }] of calls.entries()) {
        cases.push({
          scenario,
          mode,
          at: index + 1,
          kind,
          file: `${kind} ${sortOf(path)}`,
        });
      }
    }
  }
  return cases.filter(({ mode, at }) => (mode.once ? at === 1 : at >= from && at <= to));
}

function groupsOf(cases, keyOf) {
  const groups = new Map();
  for (const one of cases) {
    const group = groups.get(keyOf(one));
    if (group === undefined) groups.set(keyOf(one), [one]);
    else group.push(one);
  }
  return [...groups.values()];
}

/** Of each kind of call the first and the last on each sort of file, and in each scenario. */
function ofEachFile(cases) {
  const keys = [
    ({ mode, file }) => `${mode.name} ${file}`,
    ({ mode, scenario, kind }) => `${mode.name} ${scenario.name} ${kind}`,
  ];
  const ends = new Set(keys.flatMap((key) => groupsOf(cases, key)).flatMap((group) => [group[0], group.at(-1)]));
  return cases.filter((one) => ends.has(one));
}

/** Some of them, the same each time, of all modes and kinds of call, in scenarios and at places that are far apart. */
function sampleOf(cases) {
  const groups = groupsOf(cases, ({ mode, kind, at }) => `${mode.name} ${mode.lasting ? at % 3 : kind}`);
  const spread = groups.map((group, index) => group[Math.floor(((index * golden) % 1) * group.length)]);
  // EIO happens to every kind; the others take turns.
  return spread.filter(({ mode }, index) => mode === modes[0] || mode.once || index % 2 === 0);
}

/** A part, in an order in which neighbours lie far apart: wherever it is broken off, what was tried is spread evenly over everything. */
function partOf(cases) {
  const placed = cases.map((one, index) => ({ one, place: (index * golden) % 1 }));
  return placed
    .filter(({ place }) => Math.floor(place * parts) === part - 1)
    .sort((a, b) => a.place - b.place)
    .map(({ one }) => one);
}

const results = new Map(
  modes.map(({ name }) => [name, { faults: 0, undisturbed: 0, errors: 0, kills: 0, failed: 0, unreached: 0 }]),
);
const failures = [];

/** One lane of cases, one after another, with a disk and a process of its own. */
class Lane {
  constructor(number) {
    this.folder = join(scratch, `lane-${number}`);
    this.disk = new FaultyDisk(this.folder, library);
    this.worker = new Worker(this.disk);
  }

  async run({ scenario, mode, at }) {
    const place = join(this.folder, 'place');
    const directory = join(place, 'run');
    rmSync(place, { recursive: true, force: true });
    mkdirSync(place);
    if (scenario.before !== undefined) cpSync(scenario.before, directory, { recursive: true, verbatimSymlinks: true });
    const environment = scenario.environment?.(directory) ?? {};
    const perform = (words) =>
      values.program ? runProgram(this.disk, { words, environment }) : this.worker.run({ words, place, environment });

    this.disk.disturb({ ...mode, directory: place, at });
    const outcome = await perform(scenario.words(directory));
    const fault = this.disk.calm();
    const count = results.get(mode.name);
    if (fault.faults === 0 && outcome.code === 0) return void count.unreached++;
    count.faults++;
    if (outcome.signal === 'SIGKILL' && !outcome.hangs) count.kills++;
    else count[outcome.code === 0 ? 'undisturbed' : 'errors']++;

    let problem = problemOf(outcome, { scenario, mode, directory, place, fault });
    if (problem === undefined && difference(scenario, directory) !== undefined) {
      const again = await perform(scenario.again(directory));
      if (again.code !== 0) problem = `run again, it ended with ${again.code ?? again.signal}: ${again.line}`;
      else if (again.behind.length > 0) problem = `run again: ${again.behind.join(' | ')}`;
      else problem = difference(scenario, directory);
      if (problem !== undefined) problem = `${outcome.line ?? outcome.signal ?? 'it succeeded'}; ${problem}`;
    }
    if (problem === undefined) return;
    count.failed++;
    const call = `${fault.kind} ${fault.path?.slice(place.length)}`;
    failures.push(`${mode.name}, ${scenario.name}, call ${at} (${call}): ${problem}`);
    process.stdout.write(`FAILED  ${failures.at(-1)}\n`);
  }

  async close() {
    await this.worker.close();
    this.disk.close();
  }
}

const started = performance.now();
const all = Array.from({ length: lanes }, (_, number) => new Lane(number));
const { scenarios, close } = await makeScenarios(join(scratch, 'made'), all[0].disk, all[0].worker);
for (const { name, calls } of scenarios) {
  const kinds = {};
  for (const { kind } of calls) kinds[kind] = (kinds[kind] ?? 0) + 1;
  const shown = Object.entries(kinds).map(([kind, times]) => `${kind} ${times}`);
  process.stdout.write(`${name}: ${calls.length} calls (${shown.join(', ')})\n`);
}
const possible = casesOf(scenarios);
const cases = partOf(values.all ? possible : values['each-file'] ? ofEachFile(possible) : sampleOf(possible));
process.stdout.write(`${cases.length} of ${possible.length} faults\n`);
const queue = [...cases];
const begun = performance.now();
const progress = setInterval(() => {
  const done = cases.length - queue.length;
  const rate = done / ((performance.now() - begun) / 1000);
  const minutes = (queue.length / rate / 60).toFixed(0);
  process.stderr.write(
    `${done} of ${cases.length}, ${failures.length} failed, ${rate.toFixed(2)} a second, ${minutes} min left\n`,
  );
}, 30_000);
await Promise.all(
  all.map(async (lane) => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await lane.run(next);
    await lane.close();
  }),
);
clearInterval(progress);
await close();

const columns = ['faults', 'undisturbed', 'errors', 'kills', 'failed'];
process.stdout.write(`\n${'mode'.padEnd(26)}${columns.map((name) => name.padStart(13)).join('')}\n`);
const sums = Object.fromEntries(columns.map((name) => [name, 0]));
for (const [name, counts] of results) {
  if (counts.faults === 0) continue;
  for (const column of columns) sums[column] += counts[column];
  process.stdout.write(`${name.padEnd(26)}${columns.map((column) => String(counts[column]).padStart(13)).join('')}\n`);
}
process.stdout.write(`${((performance.now() - started) / 1000).toFixed(0)} s\n`);
rmSync(scratch, { recursive: true });
process.stdout.write(`${sums.faults - sums.failed} passed, ${sums.failed} failed\n`);
process.exit(sums.failed === 0 ? 0 : 1);
