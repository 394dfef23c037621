// One reader, fed without end with inputs that are made of those that reached something new. It says now and then how far it
// is; whoever started it ends it. The input that is being read lies in the reader's file.
import { ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, leaked, openFiles, peakBytes } from './attempt.js';
import { Corpus, Reached } from './guide.js';
import { grow, readGrown, readKept } from './kept.js';
import { hash, Random } from './random.js';
import { readers, seedsOf } from './readers.js';

const [name, directory, seed, folder, options] = process.argv.slice(2);
const { blind, memoryLimit } = JSON.parse(options);
const reader = readers[name];
const file = join(directory, reader.file);
const random = new Random(hash(seed, name));
const reached = new Reached(reader.openCounters?.());
const codes = {};
let executed = 0;

/** Every so many inputs memory and open files are looked at, which takes longer than reading one. */
const inputsAtOnce = 64;
let latest = [];

function once(bytes, countsFiles) {
  writeSync(descriptor, bytes, 0, bytes.length, 0);
  ftruncateSync(descriptor, bytes.length);
  reached.begin();
  const start = () => (reader.readBytes === undefined ? reader.read(file) : reader.readBytes(bytes, file));
  return attempt(start, directory, countsFiles);
}

async function read(bytes) {
  const { code = 'read', wrong } = await once(bytes, false);
  executed++;
  codes[code] = (codes[code] ?? 0) + 1;
  latest.push(bytes);
  return wrong;
}

/** Which of the latest inputs took too much, or left files open since there were so many. */
async function look(files) {
  const failures = [];
  if (peakBytes() > memoryLimit) failures.push([`took ${peakBytes()} bytes of memory`, latest.at(-1)]);
  if ((await leaked(files)) > 0) {
    for (const bytes of latest) failures.push([(await once(bytes, true)).wrong, bytes]);
  }
  latest = [];
  for (const [failure, bytes] of failures) {
    if (failure !== undefined) process.send({ failure, bytes: bytes.toString('base64') });
  }
  return openFiles();
}

let lastReport = 0;

/** Says how far it is, now and then. What waits for the event loop gets its turn: the message, and what readers left to be closed. */
async function report() {
  if (Date.now() - lastReport < 200) return;
  lastReport = Date.now();
  process.send({ executed, edges: reached.edges, features: reached.features, codes, inputs: corpus.inputs.length });
  await new Promise(setImmediate);
}

const corpus = new Corpus(random, reader, [...globalThis.knownWords]);
const valid = await seedsOf(reader, directory);
const descriptor = openSync(file, 'w');
for (const [i, bytes] of [...valid, ...readKept(name), ...readGrown(folder)].entries()) {
  const wrong = await read(bytes);
  if (wrong !== undefined) process.send({ failure: wrong, bytes: bytes.toString('base64') });
  if (reached.end() || i < valid.length) corpus.add(bytes);
  await report();
}
if (codes.read === undefined) process.send({ failure: 'refuses all of its valid inputs', bytes: '' });
latest = [];
// The first readings also open what the process keeps: WebAssembly, the engine, timers.
let files = openFiles();
for (;;) {
  const bytes = corpus.next();
  const wrong = await read(bytes);
  const isNew = reached.end();
  if (wrong !== undefined) process.send({ failure: wrong, bytes: bytes.toString('base64') });
  else if (isNew && !blind && bytes.length <= corpus.mostBytes) {
    corpus.add(bytes);
    grow(folder, bytes);
  }
  if (latest.length >= inputsAtOnce) files = await look(files);
  await report();
}
