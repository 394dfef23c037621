// The probe (docs/cuda.md) on the emulation: it finds its own answers right, by each model of a tensor core, and a bit that is
// changed in any of them; a part that faults, dies or hangs does not end those after it. Ends with `N passed, M failed`.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const build = join(dirname(fileURLToPath(import.meta.url)), '../../build');
const folder = mkdtempSync(join(tmpdir(), 'emoframe-probe-'));
const answers = join(folder, 'answers.bin');
const json = join(folder, 'probe.json');
let passed = 0;
let failed = 0;

function check(name, wrong) {
  if (wrong) {
    failed++;
    process.stdout.write(`FAIL ${name}: ${wrong}\n`);
  } else {
    passed++;
  }
}

function run(args, environment = {}, program = 'probe_simt') {
  const { status, stdout, stderr } = spawnSync(join(build, program), args, {
    env: { ...process.env, ...environment },
    encoding: 'utf8',
  });
  return { status, text: stdout + stderr };
}

/** What went differently from an exit status and words that the output is to have. */
function unlike({ status, text }, expected, ...words) {
  if (status !== expected) return `exit status ${status} instead of ${expected}:\n${text}`;
  const missing = words.find((word) => !text.includes(word));
  return missing && `no '${missing}' in:\n${text}`;
}

/** The file with one bit changed in each answer, and the names of the parts that have one. */
function flipped(bytes) {
  const changed = Buffer.from(bytes);
  const parts = new Set();
  for (let at = 8; at < bytes.length; ) {
    const nameEnd = at + 4 + bytes.readUInt32LE(at);
    parts.add(bytes.toString('utf8', at + 4, nameEnd).replace(/\/\w+$/, ''));
    const count = 4 * bytes.readUInt32LE(nameEnd);
    changed[nameEnd + 4 + Math.floor(Math.random() * count)] ^= 1 << Math.floor(Math.random() * 8);
    at = nameEnd + 4 + count;
  }
  return { changed, parts };
}

try {
  check('writing answers', unlike(run(['--write', answers]), 0));
  for (const model of ['ampere', 'hopper', 'exact']) {
    const result = run(['--expected', answers], { SIMT_NUMERICS: model, SIMT_SEED: '5' });
    check(`reading them as ${model}`, unlike(result, 0, `mmaBf16 of random numbers`, `(as ${model})`, ', 0 failed'));
  }

  const { changed, parts } = flipped(readFileSync(answers));
  const other = join(folder, 'flipped.bin');
  writeFileSync(other, changed);
  const found = run(['--expected', other]);
  check('bits that are changed', unlike(found, 1, `, ${parts.size} failed`));
  writeFileSync(other, changed.subarray(0, 1000));
  check('a file that is cut off', unlike(run(['--expected', other]), 2, 'damaged'));
  check('a file that is missing', unlike(run(['--expected', join(folder, 'none')]), 2, 'cannot be read'));
  check('no file', unlike(run([]), 2, '--expected FILE is missing'));

  const planted = run(['--expected', answers, '--json', json, '--only', 'lan', '--planted']);
  check('parts that go wrong', unlike(planted, 1, '4 failed'));
  const report = JSON.parse(readFileSync(json, 'utf8'));
  const statuses = report.parts.map(({ name, status }) => `${name} ${status}`).join(', ');
  const expected = ['differs DIFFERS', 'faults FAULTS', 'dies DIES', 'hangs HANGS', 'right ok'];
  check('the parts after them', !statuses.endsWith(expected.map((one) => `planted: ${one}`).join(', ')) && statuses);

  if (existsSync(join(build, 'probe'))) {
    const device = run(['--expected', answers], {}, 'probe');
    check('a device', device.status !== 0 && unlike(device, 2, 'no NVIDIA driver'));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
