// One reader, fed without end with inputs that are made of those that reached something new. It says now and then how far it
// is; whoever started it ends it. The input that is being read lies in the reader's file.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, peakBytes } from './attempt.js';
import { Corpus, Reached } from './guide.js';
import { grow, readGrown, readKept } from './kept.js';
import { hash, Random } from './random.js';
import { readers, seedsOf } from './readers.js';

const [name, directory, seed, folder, options] = process.argv.slice(2);
const { blind, memoryLimit } = JSON.parse(options);
const reader = readers[name];
const file = join(directory, reader.file);
const random = new Random(hash(seed, name));
const reached = new Reached(globalThis.reached);
const codes = {};
let executed = 0;

async function read(bytes, isFirst) {
  writeFileSync(file, bytes);
  reached.begin();
  const { code = 'read', wrong } = await attempt(
    () => (reader.readBytes ?? reader.read)(reader.readBytes === undefined ? file : bytes, file),
    directory,
    isFirst,
  );
  executed++;
  codes[code] = (codes[code] ?? 0) + 1;
  const peak = peakBytes();
  if (wrong === undefined && peak > memoryLimit) return `took ${peak} bytes of memory`;
  return wrong;
}

function report() {
  process.send({ executed, edges: reached.edges, features: reached.features, codes, inputs: corpus.inputs.length });
}

const corpus = new Corpus(random, reader, [...globalThis.knownWords]);
const valid = await seedsOf(reader, directory);
for (const [i, bytes] of [...valid, ...readKept(name), ...readGrown(folder)].entries()) {
  const wrong = await read(bytes, i === 0);
  if (wrong !== undefined) process.send({ failure: wrong, bytes: bytes.toString('base64') });
  if (reached.end() || i < valid.length) corpus.add(bytes);
}
if (codes.read === undefined) process.send({ failure: 'refuses all of its valid inputs', bytes: '' });
report();
for (let last = Date.now(); ; ) {
  const bytes = corpus.next();
  const wrong = await read(bytes, false);
  const isNew = reached.end();
  if (wrong !== undefined) process.send({ failure: wrong, bytes: bytes.toString('base64') });
  else if (isNew && !blind && bytes.length <= corpus.mostBytes) {
    corpus.add(bytes);
    grow(folder, bytes);
  }
  if (Date.now() - last > 200) {
    last = Date.now();
    report();
    // What waits for the event loop gets its turn: the message, and what readers left to be closed.
    await new Promise(setImmediate);
  }
}
