// Many short files stream through `emoframe predict` in level memory: resident memory and open files, sampled while the
// program works, are as high in the last quarter of the run as in the second, and results come while it goes on.
//
//   node test/slow/load.js [--files N] [--format text|json|jsonl]     (default 6000 files, jsonl)
import { spawn } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { generator, speechLike, writeWav } from '../support/syntheticRun.js';
import { writeTinyPredictor } from '../support/tinyPredictor.js';

const { values } = parseArgs({
  options: { files: { type: 'string', default: '6000' }, format: { type: 'string', default: 'jsonl' } },
});
const count = Number(values.files);
const distinct = 200;
/** Heaps still grow to their working size in the first thousands of files; audio that was kept would be 64 KB each. */
const mostGrowth = 40e6;

/** Files of 0.5 to 1.5 s, in folders of 500; beyond the first few hundred they are links. */
function writeFiles(dir) {
  const random = generator(3);
  const paths = [];
  for (let n = 0; n < count; n++) {
    const folder = join(dir, `part${Math.floor(n / 500)}`);
    if (n % 500 === 0) mkdirSync(folder, { recursive: true });
    const path = join(folder, `utterance${n}.wav`);
    if (n < distinct) writeWav(path, speechLike(0.5 + random(), random));
    else linkSync(paths[n % distinct], path);
    paths.push(path);
  }
  return paths;
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

const dir = mkdtempSync(join(tmpdir(), 'emoframe-load-'));
const failures = [];
try {
  const predictor = await writeTinyPredictor(join(dir, 'predictor'));
  const paths = writeFiles(join(dir, 'audio'));
  const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
  const words = ['predict', '--list', '-', '--model', predictor, '--format', values.format];
  const child = spawn(process.execPath, [program, ...words], { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(`${paths.join('\n')}\n`);
  let stderr = '';
  child.stderr.on('data', (part) => {
    stderr += part;
  });
  const begun = performance.now();
  let firstResult;
  let results = 0;
  let tail = '';
  child.stdout.setEncoding('utf8').on('data', (part) => {
    firstResult ??= performance.now() - begun;
    const text = tail + part;
    results += text.split('"frameSeconds"').length - 1;
    tail = text.slice(-13);
  });
  const samples = [];
  const timer = setInterval(() => {
    try {
      const pages = Number(readFileSync(`/proc/${child.pid}/statm`, 'utf8').split(' ')[1]);
      samples.push({ done: results, resident: pages * 4096, files: readdirSync(`/proc/${child.pid}/fd`).length });
    } catch {
      // It has ended.
    }
  }, 100);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(timer);
  const seconds = (performance.now() - begun) / 1000;

  const quarter = (n) => samples.filter(({ done }) => done > ((n - 1) * count) / 4 && done <= (n * count) / 4);
  const [second, last] = [quarter(2), quarter(4)];
  console.log(`${count} files in ${seconds.toFixed(1)} s, the first result after ${(firstResult / 1000).toFixed(1)} s`);
  for (const n of [1, 2, 3, 4]) {
    const part = quarter(n);
    if (part.length === 0) continue;
    const resident = median(part.map((sample) => sample.resident));
    console.log(
      `  quarter ${n}: ${megabytes(resident)} MB resident, ${median(part.map(({ files }) => files))} open files`,
    );
  }
  console.log(`  at most ${megabytes(Math.max(...samples.map(({ resident }) => resident)))} MB`);

  if (code !== 0) failures.push(`the program ended with ${code}: ${stderr.slice(-500)}`);
  if (results !== count) failures.push(`${results} results for ${count} files`);
  if (firstResult > 250 * seconds) failures.push('the first result came late');
  if (second.length < 5 || last.length < 5) failures.push('too short to judge: give more --files');
  else {
    const grown = median(last.map(({ resident }) => resident)) - median(second.map(({ resident }) => resident));
    if (grown > mostGrowth) failures.push(`memory grew by ${megabytes(grown)} MB in half of the run`);
    const open = median(last.map(({ files }) => files)) - median(second.map(({ files }) => files));
    if (open > 2) failures.push(`${open} more files are open than in the second quarter`);
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(`${failures.length === 0 ? 1 : 0} passed, ${failures.length === 0 ? 0 : 1} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;
