// A disk that can be made to fail: the shim, built here, and the page by which it is told what goes wrong.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('shim.c', import.meta.url));

/** Builds the shim with the machine's C compiler; gives its path. */
export function buildShim(folder) {
  const library = join(folder, 'shim.so');
  const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC'];
  const { status, stderr, error } = spawnSync('cc', [...flags, '-o', library, source, '-ldl'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`shim.c cannot be built: ${stderr ?? error}`);
  return library;
}

/** `struct page` of shim.c: where its fields lie, and its size. */
const fields = { at: 0, error: 8, lasting: 16, tracing: 24, calls: 32, faults: 40, effect: 48, kinds: 112 };
const texts = { directory: 368, first: 2416 };
const pageBytes = 4720;

/** One directory's calls, for the processes that are started with `environment`. */
export class FaultyDisk {
  #page;
  #trace;

  constructor(folder, library) {
    mkdirSync(folder, { recursive: true });
    const page = join(folder, 'page');
    this.#trace = join(folder, 'trace');
    writeFileSync(page, Buffer.alloc(pageBytes));
    writeFileSync(this.#trace, '');
    this.#page = openSync(page, 'r+');
    this.environment = {
      LD_PRELOAD: library,
      FAULTS_PAGE: page,
      FAULTS_TRACE: this.#trace,
      // By another way than calls, which some versions of Node take where they may.
      UV_USE_IO_URING: '0',
    };
  }

  /** From now on the `at`-th call of one of `kinds` on the directory or in it goes wrong; with `lasting`, those after it too. */
  disturb({ directory, at = 0, kinds, effect = 'fail', error, lasting = false, tracing = false }) {
    const page = Buffer.alloc(pageBytes);
    page.writeBigInt64LE(BigInt(at), fields.at);
    page.writeBigInt64LE(BigInt(error === undefined ? 0 : constants.errno[error]), fields.error);
    page.writeBigInt64LE(BigInt(lasting), fields.lasting);
    page.writeBigInt64LE(BigInt(tracing), fields.tracing);
    page.write(effect, fields.effect);
    page.write(`,${kinds.join(',')},`, fields.kinds);
    page.write(directory, texts.directory);
    truncateSync(this.#trace);
    writeSync(this.#page, page, 0, pageBytes, 0);
  }

  /** Nothing goes wrong any more. Gives what did: the number of calls, and the first of them. */
  calm() {
    const page = Buffer.alloc(pageBytes);
    readSync(this.#page, page, 0, pageBytes, 0);
    writeSync(this.#page, Buffer.alloc(pageBytes), 0, pageBytes, 0);
    const [first] = page.toString('utf8', texts.first).split('\0');
    const [, kind, path] = /^(\S+) (.*)$/.exec(first) ?? [];
    return { faults: Number(page.readBigInt64LE(fields.faults)), kind, path };
  }

  /** The calls since `disturb` with `tracing`, in order: `[{ kind, path }]`. */
  calls() {
    const lines = readFileSync(this.#trace, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => ({ kind: line.slice(0, line.indexOf(' ')), path: line.slice(line.indexOf(' ') + 1) }));
  }

  close() {
    closeSync(this.#page);
  }
}
