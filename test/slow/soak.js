// A process that serves for long keeps its size: models are loaded and disposed of thousands of times, short audio is predicted
// a million times, whole runs are trained, and between equal parts of each, at rest, resident memory, heap, open
// files and threads are measured. Told is the slope of each over what was done, with its interval of 95 %.
//
//   node test/slow/soak.js [--loads N] [--predictions N] [--runs N] [--parts N]   (default 10000, 1000000, 20; 100 parts)
//   node test/slow/soak.js --hours 24 [--log FILE]                      all three by turns, until the time is over or Ctrl-C
//
// A measure fails when the whole interval of its slope lies above nothing and what it adds up to is more than noise would
// explain, and when threads or open files are not at the end what they were at the beginning.
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EmotionModel, parseConfig, readCorpus, Trainer } from '../../dist/index.js';
import { slopeOf } from '../support/slope.js';
import { generator, speechLike } from '../support/syntheticRun.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';
import { writeTinyPredictor } from '../support/tinyPredictor.js';
import { usageAtRest } from '../support/usage.js';
import { encodeWav } from '../support/wav.js';

const { values } = parseArgs({
  options: {
    loads: { type: 'string', default: '10000' },
    predictions: { type: 'string', default: '1000000' },
    runs: { type: 'string', default: '20' },
    parts: { type: 'string', default: '100' },
    hours: { type: 'string' },
    log: { type: 'string' },
  },
});

/** The codes with which a call may end here; anything else ends the soak. */
async function expected(call, codes) {
  await call.catch((error) => {
    if (!codes.includes(error.code)) throw error;
  });
}

const dir = mkdtempSync(join(tmpdir(), 'emoframe-soak-'));
const random = generator(11);

/** A load, a prediction with frames and clusters, a disposal: now and then before its work is done, or of no model at all. */
async function loadAndDispose(predictor, utterance, n) {
  if (n % 17 === 0) {
    await expected(EmotionModel.load(join(dir, 'nothing')), ['ERR_FILE_NOT_FOUND', 'ERR_CHECKPOINT', 'ERR_HUB']);
    return;
  }
  const model = await EmotionModel.load(predictor, { threads: 1 });
  const work = model.predict(utterance);
  if (n % 5 === 0) {
    const ended = expected(work, ['ERR_DISPOSED', 'ERR_ABORTED']);
    await model.dispose();
    await ended;
    return;
  }
  await work;
  await model.dispose();
}

/** A short prediction: most of samples, some of encoded bytes; some are aborted, some of a sample that is no number. */
async function predictOnce(model, inputs, n) {
  if (n % 23 === 0) {
    await expected(model.predict(inputs.broken), ['ERR_NOT_FINITE']);
  } else if (n % 19 === 0) {
    const controller = new AbortController();
    const work = expected(model.predict(inputs.samples[0], { signal: controller.signal }), ['ERR_ABORTED']);
    controller.abort();
    await work;
  } else if (n % 13 === 0) {
    await model.predict(inputs.bytes);
  } else {
    await model.predict(inputs.samples[n % inputs.samples.length]);
  }
}

async function kinds() {
  const predictor = await writeTinyPredictor(join(dir, 'predictor'));
  const utterance = speechLike(0.5, random);
  const inputs = {
    samples: Array.from({ length: 8 }, (_, i) => speechLike(0.1 + 0.04 * i, random)),
    bytes: encodeWav(speechLike(0.2, random)),
    broken: Float32Array.of(...speechLike(0.1, random).subarray(1), Number.NaN),
  };
  const corpus = await readCorpus(writeTinyCorpus(join(dir, 'corpus')));
  const config = parseConfig(tinyConfig);
  const serving = await EmotionModel.load(predictor, { threads: 1, clusters: false });
  let loaded = 0;
  let predicted = 0;
  return {
    loads: async (count) => {
      for (let i = 0; i < count; i++) await loadAndDispose(predictor, utterance, loaded++);
    },
    predictions: async (count) => {
      let left = count;
      const caller = async () => {
        while (left-- > 0) await predictOnce(serving, inputs, predicted++);
      };
      await Promise.all(Array.from({ length: 16 }, caller));
    },
    runs: async (count) => {
      for (let i = 0; i < count; i++) {
        const out = join(dir, 'run');
        const trainer = await Trainer.open({ corpus, out, config });
        await trainer.run({ folds: ['s1'] });
        await trainer.dispose();
        rmSync(out, { recursive: true });
      }
    },
    end: () => serving.dispose(),
  };
}

/** What a part may add in all, beside what was in use: more than the noise of a level process, less than a leak of a long service. */
const allowance = { resident: 8e6, heap: 1e6, external: 1e6 };
const shown = (value) => (Math.abs(value) >= 1e5 ? `${(value / 1e6).toFixed(1)} MB` : `${value.toFixed(1)} B`);

/** Says what the points of one kind show, and whether it is level. The first fifth is when heaps grow to their working size. */
function judge(name, points) {
  const kept = points.slice(Math.floor(points.length / 5));
  const span = kept.at(-1).done - kept[0].done;
  let level = true;
  process.stdout.write(`${points.at(-1).done} ${name}\n`);
  for (const [what, most] of Object.entries(allowance)) {
    const { slope, half } = slopeOf(
      kept.map((point) => point.done),
      kept.map((point) => point[what]),
    );
    const ok = slope - half <= 0 || slope * span <= most;
    level &&= ok;
    process.stdout.write(
      `  ${ok ? 'ok    ' : 'FAILED'} ${what.padEnd(8)} ${shown(kept[0][what])} -> ${shown(kept.at(-1)[what])}, ` +
        `${shown(slope)} ± ${shown(half)} each\n`,
    );
  }
  for (const what of ['files', 'threads']) {
    const ok = points.at(-1)[what] <= points[0][what];
    level &&= ok;
    process.stdout.write(
      `  ${ok ? 'ok    ' : 'FAILED'} ${what.padEnd(8)} ${points[0][what]} -> ${points.at(-1)[what]}\n`,
    );
  }
  return level;
}

const hours = values.hours === undefined ? undefined : Number(values.hours);
const endsAt = Date.now() + 3.6e6 * (hours ?? 0);
let stopped = false;
process.once('SIGINT', () => {
  stopped = true;
});
if (values.log !== undefined) writeFileSync(values.log, '');

/** Does a part of a kind, and notes what is in use after it. */
async function part(all, name, count, points) {
  await all[name](count);
  const point = { done: (points.at(-1)?.done ?? 0) + count, ...(await usageAtRest()) };
  points.push(point);
  if (values.log !== undefined)
    appendFileSync(values.log, `${JSON.stringify({ kind: name, at: new Date(), ...point })}\n`);
}

let passed = 0;
let failed = 0;
try {
  const all = await kinds();
  const measured = { loads: [], predictions: [], runs: [] };
  if (hours === undefined) {
    for (const name of Object.keys(measured)) {
      const count = Number(values[name]);
      const parts = Math.min(Number(values.parts), count);
      const begun = performance.now();
      for (let i = 0; i < parts && !stopped; i++) await part(all, name, Math.floor(count / parts), measured[name]);
      if (count > 0) process.stdout.write(`${name}: ${((performance.now() - begun) / 1000).toFixed(0)} s\n`);
    }
  } else {
    while (Date.now() < endsAt && !stopped) {
      await part(all, 'loads', 200, measured.loads);
      await part(all, 'predictions', 20000, measured.predictions);
      await part(all, 'runs', 1, measured.runs);
    }
  }
  for (const [name, points] of Object.entries(measured)) {
    if (points.length < 10) continue;
    if (judge(name, points)) passed++;
    else failed++;
  }
  await all.end();
} finally {
  rmSync(dir, { recursive: true, force: true });
}
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
