import { EmoframeError } from '../errors.js';

/** Takes bytes from an asynchronous source in the lengths that a format asks for. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #buffered: Buffer[] = [];
  #length = 0;
  #ended = false;

  constructor(
    source: AsyncIterable<Uint8Array>,
    private readonly name: string,
  ) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next `length` bytes, fewer at the end; they stay. */
  async peek(length: number): Promise<Buffer> {
    while (this.#length < length && !this.#ended) await this.#pull();
    const all = this.#buffered.length === 1 ? this.#buffered[0]! : Buffer.concat(this.#buffered);
    this.#buffered = [all];
    return all.subarray(0, length);
  }

  /** The next `length` bytes, fewer at the end. */
  async take(length: number): Promise<Buffer> {
    const bytes = await this.peek(length);
    this.#buffered = [this.#buffered[0]!.subarray(bytes.length)];
    this.#length -= bytes.length;
    return bytes;
  }

  /** What is at hand and, when nothing is, what comes next; at most `length` bytes, none at the end. */
  async takeSome(length: number): Promise<Buffer> {
    if (this.#length === 0 && !this.#ended) await this.#pull();
    return this.take(Math.min(length, this.#length));
  }

  /** Everything that is left, as it comes. */
  async *rest(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const bytes = await this.takeSome(Number.MAX_SAFE_INTEGER);
      if (bytes.length === 0) return;
      yield bytes;
    }
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    if (!this.#ended) await this.#source.return?.();
    this.#ended = true;
  }

  async #pull(): Promise<void> {
    const { value, done } = await this.#source.next();
    if (done === true) {
      this.#ended = true;
      return;
    }
    if (!(value instanceof Uint8Array)) {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected chunks of bytes (Buffer, Uint8Array) from ${this.name} but received one of type ${typeof value}.`,
      );
    }
    if (value.length === 0) return;
    this.#buffered.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    this.#length += value.length;
  }
}
