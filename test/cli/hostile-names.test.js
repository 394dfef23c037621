// Names of files, labels and ids are whatever somebody wrote. None of them drives the terminal, or takes a line of its own.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { corpusCommand } from '../../dist/cli/corpus.js';
import { encodeCommand } from '../../dist/cli/encode.js';
import { evaluateCommand } from '../../dist/cli/evaluate.js';
import { exportCommand } from '../../dist/cli/export.js';
import { predictCommand } from '../../dist/cli/predict.js';
import { Progress } from '../../dist/cli/progress.js';
import { reportCommand } from '../../dist/cli/report.js';
import { output, remarks, Terminal } from '../../dist/cli/terminal.js';
import { StageLog } from '../../dist/pipeline/stageLog.js';
import { asJson, oneLine } from '../../dist/quote.js';
import { emoframe } from '../support/cli.js';
import { generator, speechLike, writeSyntheticRun, writeWav } from '../support/syntheticRun.js';
import { writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('command line: hostile names');

/** Sets the title of a window, clears the screen, turns text around, and begins lines of its own, in every way there is. */
const hostile = '\u001b]0;PWNED\u0007\u009b2J\u007f\u202e\u2067\u200f\u061c\u2028\u2029\u0085\r\n\tPWNED: ok';
const shown =
  '\\u001b]0;PWNED\\u0007\\u009b2J\\u007f\\u202e\\u2067\\u200f\\u061c\\u2028\\u2029\\u0085\\u000d\\u000a\\u0009PWNED: ok';
const raw = /[^\P{Cc}\n]|[\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

let dir;
let model;
let audio;
let manifest;
let folder;
test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-hostile-'));
  folder = join(dir, hostile);
  mkdirSync(folder);
  audio = join(folder, `${hostile}.wav`);
  writeWav(audio, speechLike(0.6, generator(2)));
  writeFileSync(join(folder, `${hostile}-bad.wav`), 'RIFF');
  model = await writeTinyPredictor(join(folder, 'predictor'), { clusters: false });
  const settings = join(model, 'emoframe.json');
  const head = JSON.parse(readFileSync(settings, 'utf8'));
  head.labels = head.labels.map((label) => (label === 'neutral' ? label : `${label}${hostile}\ud800`));
  writeFileSync(settings, JSON.stringify(head));
  manifest = join(folder, 'manifest.jsonl');
  const rows = head.labels.map((label, n) => ({
    audio,
    id: `${n}${hostile}`,
    label,
    speaker: `speaker ${n}${hostile}`,
    session: `session ${n}${hostile}`,
  }));
  const bad = { audio: `missing${hostile}`, label: hostile };
  writeFileSync(manifest, [...rows, bad].map((row) => `${JSON.stringify(row)}\n`).join(''));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

/** Neither of the program's outputs may have anything raw. */
function checked(name, result) {
  for (const text of [result.stdout, result.stderr]) {
    const at = text.search(raw);
    assert.is(at, -1, `${name}: ${oneLine(text.slice(Math.max(0, at - 60), at + 60))}`);
    assert.not.match(text, /^PWNED/m, `${name} has a line that is not its own`);
  }
  return result;
}

/** Runs a command in this process, which is quicker than the program: what it writes, through the same objects. */
async function run(command, ...words) {
  const written = { stdout: '', stderr: '' };
  const originals = Object.keys(written).map((name) => [name, process[name].write, process[name].fd]);
  for (const [name] of originals) {
    process[name].write = (part, whenWritten) => {
      written[name] += part;
      whenWritten?.();
      return true;
    };
    // A file would be written to directly.
    process[name].fd = undefined;
  }
  try {
    await command.run(words, {
      signal: new AbortController().signal,
      print: (lines) => output.print(lines),
      printJson: (value, indent) => output.printJson(value, indent),
      note: (lines) => remarks.note(lines),
    });
  } finally {
    for (const [name, write, fd] of originals) Object.assign(process[name], { write, fd });
  }
  return checked(command.name, written);
}

test('text shows what is hostile as escapes, each in its line', async () => {
  const predicted = await run(predictCommand, folder, '--model', model, '--on-corrupt', 'skip');
  assert.match(predicted.stdout, `${shown}  angry${shown}\\ud800  (`);
  assert.match(predicted.stdout, `${shown}-bad  skipped: `);
  assert.match(predicted.stderr, 'predict  2/2');
  const encoded = await run(encodeCommand, audio, '--model', model, '--out', join(folder, 'states'));
  assert.match(encoded.stdout, `${shown}.npy  [29, `);
  const corpus = await run(corpusCommand, manifest);
  for (const name of ['angry', 'speaker 1', 'session 3']) assert.match(corpus.stdout, `  ${name}${shown}`);
  assert.match(corpus.stderr, 'missing\\u001b]0;PWNED');
  const scored = await run(evaluateCommand, manifest, '--model', model);
  assert.match(scored.stdout, `  sad${shown}\\ud800  `);
  const exported = await run(exportCommand, model, '--format', 'hf', '--out', join(folder, 'exported'));
  assert.match(exported.stdout, 'model.safetensors');
  const report = await run(reportCommand, writeSyntheticRun(join(folder, 'run'), { utterances: 4 }));
  assert.match(report.stdout, `${shown}/run/report.html`);
});

test('what is JSON has the same values, and nothing raw either', async () => {
  const predicted = JSON.parse((await run(predictCommand, audio, '--model', model, '--json')).stdout);
  assert.is(predicted[0].id, hostile);
  assert.ok(`happy${hostile}\ud800` in predicted[0].probabilities);
  assert.is(JSON.parse((await run(corpusCommand, manifest, '--json')).stdout).speakers[`speaker 1${hostile}`], 1);
  const scored = JSON.parse((await run(evaluateCommand, manifest, '--model', model, '--json')).stdout);
  assert.ok(scored.labels.includes(`sad${hostile}\ud800`));
});

test('errors and usage show names as escapes', async () => {
  for (const [code, ...words] of [
    [1, 'predict', join(folder, 'nothing'), '--model', model],
    [2, 'evaluate', hostile, `--${hostile}`],
  ]) {
    const result = checked(words[0], await emoframe(words, { cwd: folder, env: { EMOFRAME_DEBUG: '1' } }));
    assert.is(result.code, code);
    assert.is(result.stdout, '');
    assert.match(result.stderr, '\\u001b]0;PWNED');
  }
});

test('warnings are as safe, whoever prints them', () => {
  const [rows, given] = [[], []];
  const log = new StageLog({ fold: hostile, stage: 'mfcc' }, { write: (row) => rows.push(row) }, folder, {
    onWarning: ({ message }) => given.push(message),
  });
  log.warn(`Of ${hostile} nothing is left.`);
  assert.equal(given, [`Of ${shown.replace('\\u000a', ' ')} nothing is left.`]);
  assert.is(rows[0].warning, given[0]);
});

test('progress is drawn in place on a terminal, with its own sequences alone', () => {
  for (const isTTY of [true, false]) {
    let text = '';
    const write = (part) => {
      text += part;
      return true;
    };
    const progress = new Progress(new Terminal({ isTTY, columns: 400, write, on: () => undefined }, 'to it'));
    progress.update({ title: `predict ${hostile}`, done: 1, total: 2, message: hostile, metrics: { [hostile]: 1 } });
    progress.finish();
    const [begin, end] = isTTY ? ['\r\u001b[K', '\n'] : ['', '\n'];
    assert.ok(text.startsWith(`${begin}predict ${shown}  `) && text.endsWith(`  ${shown} 1${end}`), oneLine(text));
    assert.not.match(text.slice(begin.length), raw);
  }
});

test('every character that does more than stand in its place is escaped, and JSON is read as it was', () => {
  for (let code = 0; code <= 0xffff; code++) {
    const character = String.fromCharCode(code);
    const active = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(character);
    const written = `\\u${code.toString(16).padStart(4, '0')}`;
    assert.is(oneLine(character), active ? written : character);
    const json = asJson({ [character]: [character] });
    assert.not.match(json, raw);
    assert.equal(JSON.parse(json), { [character]: [character] });
  }
  assert.is(oneLine('\u{1f600}é'), '\u{1f600}é');
});

test('nothing of the program goes to the terminal but through what escapes it', () => {
  const lib = fileURLToPath(new URL('../../lib', import.meta.url));
  const writers = readdirSync(lib, { recursive: true })
    .filter((name) => name.endsWith('.ts'))
    .filter((name) => {
      const code = readFileSync(join(lib, name), 'utf8').replace(/^\s*(?:\/\/|\/?\*).*$/gm, '');
      return /\bconsole\.\w+\(|\bstd(out|err)\.write\b|\bprocess\.emitWarning\b|process\.std(out|err)[,)]/.test(code);
    });
  assert.equal(writers.sort(), ['cli/terminal.ts', 'warning.ts']);
});

test.run();
