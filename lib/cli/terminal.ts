// The only way to the terminal. Names of files, labels and ids are whatever somebody wrote, so what drives a terminal is escaped
// here, where all text comes through, and not where it is put together.
import { once } from 'node:events';
import { asJson, oneLine } from '../quote.js';

/** Lines of text, each one line whatever is in it. */
export type Lines = string | readonly string[];

/** One of the program's two outputs. */
export class Terminal {
  constructor(private readonly stream: NodeJS.WriteStream) {}

  /** Whether a person is looking on, and a line can be drawn again in place. */
  get interactive(): boolean {
    return this.stream.isTTY === true;
  }

  /** Writes lines; waits for a slow reader. */
  async print(lines: Lines): Promise<void> {
    await this.#written(shown(lines));
  }

  /** Writes lines, and leaves it to the system when they are read. */
  note(lines: Lines): void {
    this.stream.write(shown(lines));
  }

  /** Writes a value as JSON over several lines, or with `indent` 0 on one. */
  async printJson(value: unknown, indent = 2): Promise<void> {
    await this.#written(`${asJson(value, indent)}\n`);
  }

  /** Writes a line in place of the last one, without ending it. */
  redraw(line: string): void {
    const room = Math.max((this.stream.columns ?? 80) - 1, 20);
    this.stream.write(`\r\u001b[K${oneLine(line).slice(0, room)}`);
  }

  async #written(text: string): Promise<void> {
    if (!this.stream.write(text)) await once(this.stream, 'drain');
  }
}

function shown(lines: Lines): string {
  return [lines]
    .flat()
    .map((line) => `${oneLine(line)}\n`)
    .join('');
}

/** Results. */
export const output = new Terminal(process.stdout);
/** Remarks, progress and errors. */
export const remarks = new Terminal(process.stderr);
