import { EmoframeError } from '../errors.js';
import { isSystemError, OpenFile, systemMessage } from '../files/read.js';
import { describe } from '../issues.js';

/** The first read of a file is enough for most headers; reads double from there up to the most. */
const FIRST_READ_BYTES = 2 ** 12;
const MOST_READ_BYTES = 2 ** 18;

/** Bytes that can be read from any place: those of a file, or of an array. */
interface RandomAccess {
  readonly size: number;
  /** Fewer come at the end. */
  read(position: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

/**
 * The bytes of one audio, in the lengths that a format asks for: in order from any source, and from any place of a file or an
 * array.
 */
export class ByteSource {
  readonly #next: () => Promise<Buffer | undefined>;
  readonly #access: RandomAccess | undefined;
  readonly #close: () => Promise<unknown>;
  /** Of the byte that comes next. */
  #position = 0;
  #buffered: Buffer[] = [];
  #length = 0;
  #ended = false;

  /** `name`: of the audio in errors. */
  private constructor(
    readonly name: string,
    from: AsyncIterable<Uint8Array> | RandomAccess,
  ) {
    if (Symbol.asyncIterator in from) {
      const stream = from[Symbol.asyncIterator]();
      this.#next = async () => bytesOf(await stream.next(), name);
      this.#close = async () => this.#ended || stream.return?.();
    } else {
      this.#access = from;
      let length = FIRST_READ_BYTES;
      this.#next = async () => {
        const bytes = await from.read(this.#position + this.#length, length);
        length = Math.min(2 * length, MOST_READ_BYTES);
        return bytes.length === 0 ? undefined : bytes;
      };
      this.#close = () => from.close();
    }
  }

  /** @throws `ERR_FILE_NOT_FOUND`; `ERR_AUDIO` for what is no file, or cannot be opened */
  static async openFile(path: string): Promise<ByteSource> {
    const refuse = (reason: string) => new EmoframeError('ERR_AUDIO', `${path}: ${reason}.`, { file: path });
    const file = await OpenFile.open(path, refuse).catch((error: unknown) => {
      throw cannotRead(error, path);
    });
    return new ByteSource(path, accessTo(file));
  }

  static ofBytes(bytes: Uint8Array, name: string): ByteSource {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const read = async (position: number, length: number) => buffer.subarray(position, position + length);
    return new ByteSource(name, { size: buffer.length, read, close: async () => undefined });
  }

  static ofStream(stream: AsyncIterable<Uint8Array>, name: string): ByteSource {
    return new ByteSource(name, stream);
  }

  /** Bytes in all; undefined of a stream. */
  get size(): number | undefined {
    return this.#access?.size;
  }

  /** Bytes before the one that comes next. */
  get position(): number {
    return this.#position;
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
    this.#drop(bytes.length);
    return bytes;
  }

  /** What is at hand and, when nothing is, what comes next; at most `length` bytes, none at the end. */
  async takeSome(length: number): Promise<Buffer> {
    if (this.#length === 0 && !this.#ended) await this.#pull();
    return this.take(Math.min(length, this.#length));
  }

  /** Steps over bytes, of a file or an array without reading them; gives whether they are all there. */
  async skip(length: number): Promise<boolean> {
    if (this.#access !== undefined) {
      this.seek(this.#position + length);
      return this.#position <= this.#access.size;
    }
    for (let left = length; left > 0; ) {
      const skipped = await this.takeSome(left);
      if (skipped.length === 0) return false;
      left -= skipped.length;
    }
    return true;
  }

  /** Goes on at a byte of a file or an array. */
  seek(position: number): void {
    const ahead = position - this.#position;
    if (ahead >= 0 && ahead <= this.#length) {
      this.#buffered = [Buffer.concat(this.#buffered)];
      this.#drop(ahead);
      return;
    }
    this.#buffered = [];
    this.#length = 0;
    this.#position = position;
    this.#ended = false;
  }

  /** Bytes from any place of a file or an array, fewer at the end; what comes next stays the same. */
  async readAt(position: number, length: number): Promise<Buffer> {
    if (this.#access === undefined) throw new Error(`${this.name} is a stream: it can only be read in order.`);
    return this.#access.read(position, length);
  }

  /** Closes the file, or the stream where it has not ended. */
  async close(): Promise<void> {
    await this.#close();
    this.#ended = true;
  }

  #drop(length: number): void {
    this.#buffered = [this.#buffered[0]!.subarray(length)];
    this.#length -= length;
    this.#position += length;
  }

  async #pull(): Promise<void> {
    const bytes = await this.#next();
    if (bytes === undefined) this.#ended = true;
    else if (bytes.length > 0) this.#buffered.push(bytes);
    this.#length += bytes?.length ?? 0;
  }
}

function bytesOf({ value, done }: IteratorResult<unknown>, name: string): Buffer | undefined {
  if (done === true) return undefined;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new EmoframeError(
    'ERR_ARGUMENT',
    `Expected chunks of bytes (Buffer, Uint8Array) from ${name} but received ${describe(value)}.`,
  );
}

function accessTo(file: OpenFile): RandomAccess {
  return {
    size: file.size,
    async read(position, length) {
      const buffer = Buffer.allocUnsafe(length);
      return buffer.subarray(0, await file.readUpTo(buffer, position));
    },
    close: () => file.close(),
  };
}

/** What goes wrong beneath, as an error of ours. */
export function cannotRead(failure: unknown, name: string): EmoframeError {
  // Of a file: an audio that cannot be read is told from a model that cannot.
  const ofSystem = failure instanceof EmoframeError && isSystemError(failure.cause);
  const error = ofSystem ? failure.cause : failure;
  if (error instanceof EmoframeError) return error;
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
    return new EmoframeError('ERR_FILE_NOT_FOUND', `There is no file ${name}.`, { file: name, cause: error });
  }
  return new EmoframeError('ERR_AUDIO', `${name} cannot be read: ${systemMessage(error)}.`, {
    file: name,
    cause: error,
  });
}
