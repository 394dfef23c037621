// Which objective finds when an emotion is there: every objective of stage 4 on corpora whose emotions are known frame by
// frame, over several seeds, beside other poolings and the ceiling. See README.md.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { CORPORA, OBJECTIVES, readCell, runCells } from './alignment/cells.js';
import { POOLINGS, readPooling, runPoolings } from './alignment/poolings.js';
import { markdown } from './alignment/table.js';
import { alwaysNeutral, scoresOf, summarize, tallyOf } from './alignment/tally.js';
import { describeCommit, describeMachine } from './harness/machine.js';

const NEUTRAL = 'neutral';

const help = `Every objective of stage 4 on corpora with known frame truth, on held-out voices.

  --out DIR          corpora and runs; what is finished there is not run again
  --seeds LIST       seeds of corpus and training, as 1-5 or 1,3 (1-5)
  --objectives LIST  of ${OBJECTIVES.join(', ')}, or all (all)
  --corpora LIST     of ${Object.keys(CORPORA).join(', ')} (demo); prompts needs packages of Debian, see README.md
  --python FILE      Python with bench/requirements.txt, for other poolings and the ceiling; without it they are left out
  --threads N        (2)
  --json FILE        write every figure here`;

function seedsOf(text) {
  const seeds = text.split(',').flatMap((part) => {
    const [first, last = first] = part.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  if (seeds.length > 0 && seeds.every((seed) => Number.isSafeInteger(seed) && seed >= 0)) return seeds;
  throw new Error(`Expected seeds such as 1-5 or 1,3 for --seeds but received ${text}.`);
}

function chosen(option, text, known) {
  const names = text === 'all' ? known : text.split(',');
  const wrong = names.find((name) => !known.includes(name));
  if (wrong !== undefined)
    throw new Error(`Expected ${known.join(', ')} or all for --${option} but received ${wrong}.`);
  return names;
}

/** The scores that the run itself wrote must be those of its rows. */
function compareWithRun(tallies, metrics, what) {
  const ours = scoresOf(tallies);
  for (const score of ['wa', 'ua', 'frameAccuracy', 'frameUa', 'eder']) {
    if (Math.abs(ours[score] - metrics[score]) > 1e-9)
      throw new Error(
        `${score} of ${what} is ${ours[score]} by its rows, but its metrics.json says ${metrics[score]}.`,
      );
  }
}

/** Rows of the table of one corpus. */
async function gather(places, objectives, python) {
  const rows = new Map();
  const add = (name, tallies, seconds) => {
    const row = rows.get(name) ?? { name, bySeed: [], seconds: [] };
    row.bySeed.push(tallies);
    row.seconds.push(seconds);
    rows.set(name, row);
  };
  for (const place of places) {
    for (const [i, objective] of objectives.entries()) {
      const cell = await readCell(place, objective);
      const tallies = cell.predictions.map((row) => tallyOf(row, NEUTRAL));
      compareWithRun(tallies, cell.metrics, `${place}, ${objective}`);
      if (i === 0) {
        const baseline = cell.baseline.map((row) => tallyOf(row, NEUTRAL));
        compareWithRun(baseline, cell.metrics.baseline, `${place}, stage 1b`);
        const neutral = cell.predictions[0].labels.indexOf(NEUTRAL);
        add(
          'always neutral',
          tallies.map((tally) => alwaysNeutral(tally, neutral)),
          0,
        );
        add('stage 1b: mean pooling', baseline, cell.finetuneSeconds);
      }
      add(`stage 4: ${objective}`, tallies, cell.alignSeconds);
    }
    if (python === undefined) continue;
    for (const pooling of POOLINGS) {
      const { free, underLabel, seconds } = await readPooling(place, pooling);
      const tallied = (of) => of.map((row) => tallyOf(row, NEUTRAL));
      add(`local network: ${pooling}`, tallied(free), seconds);
      add(`local network: ${pooling}, under its label`, tallied(underLabel), seconds);
    }
  }
  return [...rows.values()].map(({ name, bySeed, seconds }) => ({
    name,
    scores: summarize(bySeed),
    seconds: seconds.reduce((sum, value) => sum + value, 0) / seconds.length,
  }));
}

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    seeds: { type: 'string', default: '1-5' },
    objectives: { type: 'string', default: 'all' },
    corpora: { type: 'string', default: 'demo' },
    python: { type: 'string' },
    threads: { type: 'string', default: '2' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(help);
  process.exit(0);
}
const { out, python } = values;
if (out === undefined) throw new Error('Expected --out DIR, where corpora and runs are to lie.');
const seeds = seedsOf(values.seeds);
const objectives = chosen('objectives', values.objectives, OBJECTIVES);
const corpora = chosen('corpora', values.corpora, Object.keys(CORPORA));
const threads = Number(values.threads);

const tables = [];
for (const corpus of corpora) {
  const places = seeds.map((seed) => join(out, corpus, `seed-${seed}`));
  for (const [i, seed] of seeds.entries()) {
    let shown = '';
    const onProgress = ({ stage }) => {
      if (stage !== shown) console.error(`${corpus}, seed ${seed}: ${stage}`);
      shown = stage;
    };
    await runCells(places[i], { maker: CORPORA[corpus], seed, objectives, threads }, onProgress);
    if (python !== undefined) await runPoolings(places[i], { python, seed, threads });
  }
  const rows = await gather(places, objectives, python);
  tables.push({ corpus, rows });
  console.log(`\n${corpus}, ${seeds.length === 1 ? `seed ${seeds[0]}` : `${seeds.length} seeds`}\n\n${markdown(rows)}`);
}

if (values.json !== undefined) {
  await mkdir(dirname(values.json), { recursive: true });
  const machine = describeMachine('cpu');
  const content = {
    bench: 'alignment',
    date: new Date().toISOString(),
    ...describeCommit(),
    machine,
    threads,
    seeds,
    tables,
  };
  await writeFile(values.json, `${JSON.stringify(content, null, 2)}\n`);
}
