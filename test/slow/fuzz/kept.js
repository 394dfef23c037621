// Corpora as files: the inputs of a reader, one after another, each behind its length in four bytes, compressed together.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { hash } from './random.js';

/** In the repository. */
export const keptFolder = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'fuzz', 'corpora');
const fileOf = (name) => join(keptFolder, `${name}.corpus.br`);

export function pack(inputs) {
  const length = (bytes) => Buffer.from(Uint32Array.of(bytes.length).buffer);
  return Buffer.concat(inputs.flatMap((bytes) => [length(bytes), bytes]));
}

export function unpack(bytes) {
  const inputs = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    inputs.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return inputs;
}

export function readKept(name) {
  return existsSync(fileOf(name)) ? unpack(brotliDecompressSync(readFileSync(fileOf(name)))) : [];
}

export function writeKept(name, inputs) {
  mkdirSync(keptFolder, { recursive: true });
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
  };
  writeFileSync(fileOf(name), brotliCompressSync(pack(inputs), { params }));
}

/** A corpus that grows while a fuzzer runs: a file an input. */
export function readGrown(folder) {
  return existsSync(folder) ? readdirSync(folder).map((file) => readFileSync(join(folder, file))) : [];
}

export function grow(folder, bytes) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${hash(bytes.toString('latin1')).toString(16)}-${bytes.length}`), bytes);
}
