import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, loadAudio } from '../../dist/index.js';
import { generator, speechLike, writeWav } from '../support/syntheticRun.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('examples');
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const voice = join(fixtures, 'audio', 'voice.wav');
const run = promisify(execFile);
let dir;
let expected;
test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-examples-'));
  await writeTinyPredictor(join(dir, 'predictor'));
  const model = await EmotionModel.load(join(dir, 'predictor'));
  expected = await model.predict(voice);
  await model.dispose();
});
test.after(() => rmSync(dir, { recursive: true, force: true }));
const example = (name) => join(root, 'examples', name);

test('every example is in the docs as it is, and what the docs show as code is an example', () => {
  // install.md shows imports, which test/slow/install.js does on a bare machine.
  const pages = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md') && name !== 'install.md');
  const fences = pages.flatMap((page) => {
    const text = readFileSync(join(root, 'docs', page), 'utf8');
    return [...text.matchAll(/^```(?:js|ts)\n(.*?)^```$/gms)].map(([, code]) => ({ page, code }));
  });
  const examples = readdirSync(join(root, 'examples')).map((name) => readFileSync(example(name), 'utf8'));
  for (const code of examples)
    assert.ok(
      fences.some((fence) => code.endsWith(fence.code)),
      code.split('\n')[0],
    );
  for (const { page, code } of fences)
    assert.ok(
      examples.some((text) => text.includes(code)),
      `${page} shows code that no example runs:\n${code}`,
    );
});

test('many files: a line each, and the damaged one on stderr', async () => {
  const bad = join(dir, 'bad.wav');
  writeFileSync(bad, 'not audio');
  const { stdout, stderr } = await run(process.execPath, [
    example('many-files.js'),
    join(dir, 'predictor'),
    bad,
    voice,
  ]);
  const { id, ...probabilities } = JSON.parse(stdout);
  assert.equal([id, probabilities], ['voice', expected.probabilities]);
  assert.match(stderr, /^bad: .*neither WAV/);
});

test('the engine itself: several files in one pass', async () => {
  const { stdout } = await run(process.execPath, [example('engine.js'), join(dir, 'predictor'), '1', voice, voice]);
  const frames = expected.frames.length;
  assert.match(stdout, `${voice}: ${frames} frames\n${voice}: ${frames} frames\n`);
  assert.match(stdout, /^\d+ numbers a frame$/m);
});

test('worker: a model in a thread of its own', async () => {
  const { stdout } = await run(process.execPath, [example('worker.js'), join(dir, 'predictor'), voice]);
  assert.is(stdout, `${expected.label}, 1.2 s\n`);
});

test('HTTP: uploads that stop do not hold the service up', async () => {
  const child = spawn(process.execPath, [example('http-service.js'), join(dir, 'predictor'), '0', '0.5'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
    const url = line.trim();
    const stalled = Array.from({ length: 8 }, (_, i) => {
      const sending = request(`${url}/${i % 2 === 0 ? 'predict' : 'timeline?rate=16000'}`, { method: 'POST' });
      sending.write(Buffer.alloc(100));
      return sending;
    });
    const answers = Promise.all(stalled.map((sending) => once(sending, 'response')));
    const post = () => fetch(`${url}/predict`, { method: 'POST', body: readFileSync(voice) });
    // All places are taken, and then none.
    let answer = await post();
    for (let i = 0; i < 100 && answer.status === 503; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      answer = await post();
    }
    assert.is(answer.status, 200);
    for (const [response] of await answers) assert.is(response.statusCode, 422);
    // What is refused is not kept open either.
    await Promise.all(stalled.map((sending) => sending.closed || once(sending, 'close')));
  } finally {
    child.kill('SIGTERM');
  }
  const [code] = await once(child, 'exit');
  assert.is(code, 0);
});

test('HTTP: decisions, timelines while the audio comes, errors of the client, an orderly end', async () => {
  const child = spawn(process.execPath, [example('http-service.js'), join(dir, 'predictor'), '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
    const url = line.trim();
    const post = (path, body) => fetch(`${url}${path}`, { method: 'POST', body });

    const decision = await (await post('/predict', readFileSync(voice))).json();
    assert.is(decision.label, expected.label);
    assert.equal(decision.segments, expected.segments);

    const bad = await post('/predict', 'not audio');
    assert.is(bad.status, 422);
    assert.is((await bad.json()).code, 'ERR_AUDIO_FORMAT');
    assert.is((await fetch(url)).status, 404);

    // The first line must be there before the last bytes are sent.
    const talk = join(dir, 'talk.wav');
    writeWav(talk, speechLike(14, generator(3)));
    const samples = Int16Array.from(await loadAudio(talk), (value) => Math.round(32768 * value));
    const bytes = Buffer.from(samples.buffer);
    const sending = request(`${url}/timeline?rate=16000`, { method: 'POST' });
    sending.write(bytes.subarray(0, 16000 * 2 * 7));
    const [response] = await once(sending, 'response');
    let text = '';
    for await (const part of response.setEncoding('utf8')) {
      if (text === '') sending.end(bytes.subarray(16000 * 2 * 7));
      text += part;
    }
    const lines = text
      .trim()
      .split('\n')
      .map((row) => JSON.parse(row));
    assert.ok(lines.length > 2);
    assert.is(lines.at(-1).last, true);
    assert.is(lines.at(-1).end, 14);
    assert.is(lines.flatMap(({ segments }) => segments).at(-1).end, 14);

    const leaving = request(`${url}/timeline?rate=16000`, { method: 'POST' });
    leaving.on('error', () => undefined);
    leaving.write(bytes);
    const [begun] = await once(leaving, 'response');
    begun.on('error', () => undefined);
    leaving.destroy();
    assert.is((await post('/predict', readFileSync(voice))).status, 200, 'the service goes on');
  } finally {
    child.kill('SIGTERM');
  }
  const [code] = await once(child, 'exit');
  assert.is(code, 0);
});

test.run();
