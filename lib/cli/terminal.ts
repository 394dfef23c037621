// The only way to the terminal. Names of files, labels and ids are whatever somebody wrote, so what drives a terminal is escaped
// here, where all text comes through, and not where it is put together.
import { fstatSync, writeSync } from 'node:fs';
import { writeError } from '../files/atomic.js';
import { asJson, oneLine } from '../quote.js';

/** Lines of text, each one line whatever is in it. */
export type Lines = string | readonly string[];

type Stream = NodeJS.WriteStream & { fd?: number };

/** One of the program's two outputs. That it cannot be written to is met by whoever waits for it, and by nobody else. */
export class Terminal {
  #failure: NodeJS.ErrnoException | undefined;
  #closed: () => void = () => undefined;

  /** @param name in messages */
  constructor(
    private readonly stream: Stream,
    private readonly name: string,
  ) {
    stream.on('error', (error) => this.#fail(error));
  }

  /** Calls `closed` when a reader has closed its end of a pipe. */
  onClosed(closed: () => void): void {
    this.#closed = closed;
  }

  /** Whether a person is looking on, and a line can be drawn again in place. */
  get interactive(): boolean {
    return this.stream.isTTY === true;
  }

  /** Writes lines; waits for a slow reader. Errors: `ERR_WRITE`. */
  async print(lines: Lines): Promise<void> {
    await this.#written(shown(lines));
  }

  /** Writes lines, and leaves it to the system when they are read. */
  note(lines: Lines): void {
    this.stream.write(shown(lines));
  }

  /** Writes a value as JSON over several lines, or with `indent` 0 on one. Errors: `ERR_WRITE`. */
  async printJson(value: unknown, indent = 2): Promise<void> {
    await this.#written(`${asJson(value, indent)}\n`);
  }

  /** Writes a line in place of the last one, without ending it. */
  redraw(line: string): void {
    const room = Math.max((this.stream.columns ?? 80) - 1, 20);
    this.stream.write(`\r\u001b[K${oneLine(line).slice(0, room)}`);
  }

  async #written(text: string): Promise<void> {
    if (isFile(this.stream)) writeAll(this.stream.fd, text, this.name);
    else {
      await new Promise<void>((resolve, reject) => {
        this.stream.write(text, (error) => {
          if (!error) return resolve();
          this.#fail(error);
          reject(writeError(this.name, this.#failure));
        });
      });
    }
  }

  #fail(error: NodeJS.ErrnoException): void {
    this.#failure ??= error;
    if (this.#failure.code === 'EPIPE') this.#closed();
  }
}

/** Whether the stream leads to a file or a device, and not to a terminal or a pipe. */
function isFile(stream: Stream): stream is Stream & { fd: number } {
  if (stream.isTTY === true || stream.fd === undefined) return false;
  try {
    const stats = fstatSync(stream.fd);
    return stats.isFile() || stats.isCharacterDevice();
  } catch {
    return false;
  }
}

/** Node's streams take it for written when a disk that is nearly full takes the beginning alone. */
function writeAll(descriptor: number, text: string, name: string): void {
  const bytes = Buffer.from(text);
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
  } catch (error) {
    throw writeError(name, error);
  }
}

function shown(lines: Lines): string {
  return [lines]
    .flat()
    .map((line) => `${oneLine(line)}\n`)
    .join('');
}

/** Results. */
export const output = new Terminal(process.stdout, 'to the standard output');
/** Remarks, progress and errors. */
export const remarks = new Terminal(process.stderr, 'to the standard error output');
