// A corpus of very many files is looked through within minutes and in level memory: `emoframe corpus` over WAV and FLAC files,
// of which some are damaged, each named. With --decode everything is decoded too.
//
//   node test/slow/scan.js [--files N] [--decode]     (default 20000 files)
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { generator, speechLike, writeWav } from '../support/syntheticRun.js';

const { values } = parseArgs({
  options: { files: { type: 'string', default: '20000' }, decode: { type: 'boolean', default: false } },
});
const count = Number(values.files);
const damagedEvery = 500;
/** Ten minutes for 100 000 files, on a machine that does other things as well. */
const secondsAFile = 6e-3;
/** What the list of utterances, its measures and the JSON that is printed may take, beside the program. */
const bytesAFile = 6000;
const programBytes = 250e6;

/** Files in folders of 1000 and their manifest: half WAV, half FLAC; every 500th is cut short. */
function writeCorpus(dir) {
  const fixtures = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'test', 'fixtures', 'audio');
  const random = generator(5);
  mkdirSync(dir, { recursive: true });
  writeWav(join(dir, 'short.wav'), speechLike(0.2, random));
  const kinds = [
    { name: 'wav', bytes: readFileSync(join(dir, 'short.wav')), seconds: 0.2 },
    { name: 'flac', bytes: readFileSync(join(fixtures, 'stereo48k.flac')), seconds: 0.25 },
  ];
  const rows = [];
  let seconds = 0;
  let damaged = 0;
  for (let n = 0; n < count; n++) {
    const folder = `part${Math.floor(n / 1000)}`;
    if (n % 1000 === 0) mkdirSync(join(dir, folder), { recursive: true });
    const kind = kinds[n % 2];
    const audio = `${folder}/utterance${n}.${kind.name}`;
    const cut = n % damagedEvery === 7;
    // Of a WAV file the header shows that it is cut; of a FLAC file only where it is cut within the header.
    writeFileSync(join(dir, audio), cut ? kind.bytes.subarray(0, 30) : kind.bytes);
    if (cut) damaged++;
    else seconds += kind.seconds;
    rows.push(
      JSON.stringify({ audio, label: ['angry', 'neutral'][n % 2], speaker: `s${n % 50}`, session: `${n % 5}` }),
    );
  }
  writeFileSync(join(dir, 'manifest.jsonl'), rows.join('\n'));
  return { seconds, damaged };
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(0);
const dir = mkdtempSync(join(tmpdir(), 'emoframe-scan-'));
const failures = [];
try {
  const made = performance.now();
  const truth = writeCorpus(join(dir, 'corpus'));
  console.log(`${count} files made in ${((performance.now() - made) / 1000).toFixed(1)} s`);
  const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
  const words = ['corpus', join(dir, 'corpus'), '--json', ...(values.decode ? ['--decode'] : [])];
  const begun = performance.now();
  const child = spawn(process.execPath, [program, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (part) => {
    output += part;
  });
  const resident = [];
  const timer = setInterval(() => {
    try {
      resident.push(4096 * Number(readFileSync(`/proc/${child.pid}/statm`, 'utf8').split(' ')[1]));
    } catch {
      // It has ended.
    }
  }, 100);
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(timer);
  const seconds = (performance.now() - begun) / 1000;
  const most = Math.max(...resident);
  console.log(
    `${values.decode ? 'decoded' : 'scanned'} in ${seconds.toFixed(1)} s; at most ${megabytes(most)} MB resident`,
  );
  const quarters = [1, 2, 3, 4].map(
    (n) => resident[Math.min(resident.length - 1, Math.floor((n * resident.length) / 4))],
  );
  console.log(`  after each quarter: ${quarters.map(megabytes).join(', ')} MB`);

  if (code !== 0) failures.push(`the program ended with ${code}`);
  else {
    const found = JSON.parse(output);
    if (found.utterances !== count) failures.push(`${found.utterances} utterances of ${count}`);
    if (Math.abs(found.seconds - truth.seconds) > 1e-3) failures.push(`${found.seconds} s of ${truth.seconds}`);
    if (found.problems.length !== truth.damaged) failures.push(`${found.problems.length} problems of ${truth.damaged}`);
    if (found.problems.some(({ file, reason }) => !reason.includes(file))) failures.push('a problem without its file');
  }
  if (seconds > 20 + secondsAFile * count * (values.decode ? 4 : 1)) failures.push('it took too long');
  if (most > programBytes + bytesAFile * count) failures.push('it took too much memory');
} finally {
  rmSync(dir, { recursive: true, force: true });
}
for (const failure of failures) console.log(`FAILED: ${failure}`);
console.log(`${failures.length === 0 ? 1 : 0} passed, ${failures.length === 0 ? 0 : 1} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;
