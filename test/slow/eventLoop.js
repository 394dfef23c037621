// The event loop stays free while a run trains: the longest time that our own work keeps it waiting, over all stages of a run
// from scratch, one stop and its resumption included, so that checkpoints are written, read and verified.
//
//   node test/slow/eventLoop.js [--size tiny|mid|base] [--limit MS]
//
// `base` is HuBERT-base (95 M weights, checkpoints of 1.1 GB) and takes minutes; `mid` has 27 M weights.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseConfig, readCorpus, Trainer } from '../../dist/index.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';
import { LoopWatch } from './loopWatch.js';

const sizes = {
  tiny: {},
  mid: { hidden_size: 512, num_hidden_layers: 8, num_attention_heads: 8, intermediate_size: 2048 },
  base: { hidden_size: 768, num_hidden_layers: 12, num_attention_heads: 12, intermediate_size: 3072 },
};
const { values } = parseArgs({
  options: { size: { type: 'string', default: 'tiny' }, limit: { type: 'string', default: '20' } },
});
const large = values.size !== 'tiny';
const limit = Number(values.limit);

const conv = large
  ? { conv_dim: Array(7).fill(512), num_conv_pos_embeddings: 128, num_conv_pos_embedding_groups: 16 }
  : {};
const updates = large ? { updates: 3, batchSeconds: 3, maxSeconds: 2 } : {};
const fineTuning = large ? { epochs: 1, batchSize: 4, maxSeconds: 2 } : {};
const config = parseConfig({
  ...tinyConfig,
  model: { ...tinyConfig.model, ...conv, ...sizes[values.size] },
  mfcc: { ...tinyConfig.mfcc, ...updates },
  tapt: { ...tinyConfig.tapt, ...updates },
  pretrain: { ...tinyConfig.pretrain, ...updates },
  finetune: { ...tinyConfig.finetune, ...fineTuning },
  align: { ...tinyConfig.align, ...fineTuning },
  checkpoint: { everyUpdates: 2 },
});

const dir = mkdtempSync(join(tmpdir(), 'emoframe-loop-'));
let where = 'start';
const watch = new LoopWatch(() => where);
try {
  const corpus = await readCorpus(writeTinyCorpus(join(dir, 'corpus')));
  const options = { corpus, out: join(dir, 'run'), config, resume: true };
  const folds = ['s1'];
  watch.start();
  const stopper = new AbortController();
  const onProgress = ({ stage, done, total, message }) => {
    where = `${stage} ${message ?? 'update'} ${done}/${total}`;
    // The first run stops in stage 1a, after its checkpoint.
    if (stage === 'tapt' && message === undefined && done === 3) stopper.abort();
  };
  const first = await Trainer.open(options);
  await first.run({ folds, onProgress, signal: stopper.signal }).catch((error) => {
    if (error.code !== 'ERR_ABORTED') throw error;
  });
  await first.dispose();
  where = 'resumption';
  const second = await Trainer.open(options);
  await second.run({ folds, onProgress });
  await second.dispose();
} finally {
  rmSync(dir, { recursive: true, force: true });
}
const { busy, wall, turns, longest } = watch.stop();
const row = (name, { p50, p99, max }) =>
  `${name.padEnd(34)} p50 ${p50.toFixed(2)}  p99 ${p99.toFixed(2)}  max ${max.toFixed(2)} ms`;
console.log(`${values.size}: ${turns} turns`);
console.log(row("the event loop's own processor time", busy));
console.log(row('delay, other load included', wall));
for (const { busy, wall, garbage, where } of longest) {
  const collected = garbage > 0.05 ? `, garbage collection ${garbage.toFixed(1)}` : '';
  console.log(`  ${busy.toFixed(1).padStart(7)} ms of ${wall.toFixed(1)} ms  ${where}${collected}`);
}
const ok = busy.max < limit;
if (!ok) console.log(`Expected less than ${limit} ms of work at once.`);
console.log(`${ok ? 1 : 0} passed, ${ok ? 0 : 1} failed`);
process.exitCode = ok ? 0 : 1;
