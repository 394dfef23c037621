// JSON of strangers, and JSON that is long. JSON.parse holds the event loop until it is done, and takes all the time and memory that
// a text can make it take: brackets alone, 80 MB of them, took a minute and 4 GB. So the bytes are counted before anything is made of
// them, and long texts are handed to JSON.parse a few members at a time: what is valid, and what it means, is for JSON.parse to say.
import { throwIfAborted } from '../errors.js';
import { yieldWhenDue } from '../yield.js';

export interface JsonLimits {
  /** Containers in containers. */
  depth: number;
  /** Values of all kinds, in all containers. */
  values: number;
  /** Whether a key that an object has twice is refused: JSON leaves open which of the two counts. */
  unique?: boolean;
  signal?: AbortSignal;
}

/** Members of about so many bytes are parsed without a break. */
const groupBytes = 1 << 16;
/** Bytes that are looked at without a break. */
const scannedAtOnce = 1 << 17;
/** A text of more is none that any file here has. */
const longestScalar = 4 << 20;

/** A container that is longer than a group, so that its members are parsed apart. */
interface OpenContainer {
  /** `root` has no brackets of its own, and one value. */
  kind: 'root' | 'array' | 'object';
  items: unknown[];
  fields: Record<string, unknown>;
  /** Where it is in the container around it. */
  key: string;
  /** Whether it has had members. */
  filled: boolean;
  /** Its last member was a long container: nothing but white space may stand between that and the next comma. */
  closed: boolean;
}

const [quote, comma, colon, openList, backslash, closeList, openObject, closeObject] = Buffer.from('",:[\\]{}');

class LongJson {
  /** Where the text begins that has not been parsed. */
  #from = 0;
  #depth = 0;
  #values = 1;
  #inString = false;
  #escaped = false;
  readonly #stack: OpenContainer[] = [container('root', '')];
  /** Of the containers that are open at each depth: the place of the bracket, and of the last comma. */
  readonly #brackets: number[] = [];
  readonly #commas: number[] = [-1];
  /** Members of objects, as colons have it and as keys have it. */
  #colons = 0;
  #keys = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly limits: JsonLimits,
    /** The same as a string, where it was one. */
    private readonly text: string | undefined,
  ) {
    // A byte-order mark is not part of the text.
    if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) this.#from = 3;
  }

  async parse(): Promise<unknown> {
    for (let at = this.#from; at < this.bytes.length; at += scannedAtOnce) {
      if (at > scannedAtOnce) {
        await yieldWhenDue();
        throwIfAborted(this.limits.signal);
      }
      this.#scan(at, Math.min(this.bytes.length, at + scannedAtOnce));
    }
    const [root] = this.#stack;
    if (this.#stack.length !== 1) throw new SyntaxError('Unexpected end of JSON input');
    this.#flush(root!, this.bytes.length, true);
    if (this.limits.unique && this.#keys !== this.#colons) throw new SyntaxError('An object has a key twice');
    return root!.items[0];
  }

  #scan(start: number, end: number): void {
    const { bytes } = this;
    for (let at = start; at < end; at++) {
      const byte = bytes[at]!;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === backslash) this.#escaped = true;
        else if (byte === quote) this.#inString = false;
        continue;
      }
      switch (byte) {
        case quote:
          this.#inString = true;
          continue;
        case colon:
          this.#colons++;
          continue;
        case openList:
        case openObject:
          this.#brackets[this.#depth++] = at;
          this.#commas[this.#depth] = -1;
          if (this.#depth > this.limits.depth) throw new SyntaxError(`It nests more than ${this.limits.depth} deep`);
          this.#count();
          break;
        case comma:
          this.#commas[this.#depth] = at;
          this.#count();
          if (this.#depth === this.#stack.length - 1 && this.#stack.at(-1)!.closed) this.#flushTo(at);
          break;
        case closeList:
        case closeObject:
          if (this.#depth === this.#stack.length - 1) this.#close(at);
          this.#depth--;
          break;
        default:
          continue;
      }
      if (at - this.#from > groupBytes) this.#advance(at);
    }
  }

  #count(): void {
    if (++this.#values > this.limits.values) throw new SyntaxError(`It has more than ${this.limits.values} values`);
  }

  /** Parses what is complete before `at`, and opens what is not and too long to wait for. */
  #advance(at: number): void {
    while (at - this.#from > groupBytes) {
      const base = this.#stack.length - 1;
      const last = this.#commas[base]!;
      if (last >= this.#from) this.#flushTo(last);
      else if (this.#depth > base) this.#open(this.#brackets[base]!);
      else return;
    }
  }

  #open(bracket: number): void {
    const around = this.#stack.at(-1)!;
    const head = this.#slice(bracket);
    let key = '';
    if (around.closed || (around.kind !== 'object' && head.trim() !== '')) throw this.#unexpected(bracket);
    if (around.kind === 'object') {
      [key = ''] = Object.keys(this.#parsed(`{${head}[]}`) as object);
      this.#keys++;
    }
    this.#stack.push(container(this.bytes[bracket] === openList ? 'array' : 'object', key));
    this.#from = bracket + 1;
  }

  #close(at: number): void {
    const { length } = this.#stack;
    const closed = this.#stack.at(-1)!;
    if (length === 1 || (closed.kind === 'array') !== (this.bytes[at] === closeList)) throw this.#unexpected(at);
    this.#flush(closed, at, true);
    this.#stack.pop();
    const around = this.#stack.at(-1)!;
    const value = closed.kind === 'array' ? closed.items : closed.fields;
    if (around.kind === 'object') this.#set(around, closed.key, value);
    else around.items.push(value);
    around.filled = true;
    around.closed = true;
    this.#from = at + 1;
  }

  /** Parses the members before a comma of the innermost open container. */
  #flushTo(at: number): void {
    this.#flush(this.#stack.at(-1)!, at, false);
    this.#from = at + 1;
  }

  /** Parses the members from `#from` to `to`. `last`: the container ends there. */
  #flush(into: OpenContainer, to: number, last: boolean): void {
    if (to - this.#from > longestScalar + 2 * groupBytes) {
      throw new SyntaxError(`It has a value of more than ${longestScalar} bytes`);
    }
    const text = this.#slice(to);
    if (into.closed) {
      if (text.trim() !== '' || (into.kind === 'root' && !last)) throw this.#unexpected(to);
      into.closed = false;
      return;
    }
    if (into.kind === 'root') {
      // The whole of a short text.
      if (!last) throw this.#unexpected(to);
      into.items.push(JSON.parse(text));
      if (this.limits.unique) this.#keys += keysIn(into.items);
      return;
    }
    // Nothing before a comma, or between one and the end, is a mistake that would not be seen in the parts.
    if (text.trim() === '' && (!last || into.filled)) throw this.#unexpected(to);
    into.filled = true;
    if (into.kind === 'array') {
      const items = this.#parsed(`[${text}]`) as unknown[];
      for (const item of items) into.items.push(item);
      if (this.limits.unique) this.#keys += keysIn(items);
      return;
    }
    const fields = this.#parsed(`{${text}}`) as Record<string, unknown>;
    if (this.limits.unique) this.#keys += keysIn(fields);
    for (const [key, value] of Object.entries(fields)) this.#set(into, key, value);
  }

  #set({ fields }: OpenContainer, key: string, value: unknown): void {
    if (this.limits.unique && Object.hasOwn(fields, key)) throw new SyntaxError('An object has a key twice');
    if (key !== '__proto__') fields[key] = value;
    else Object.defineProperty(fields, key, { value, enumerable: true, configurable: true, writable: true });
  }

  #slice(to: number): string {
    if (this.text !== undefined && this.#from <= 3 && to === this.bytes.length) return this.text;
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.bytes.subarray(this.#from, to));
  }

  #parsed(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch (error) {
      const reason = (error as Error).message.replace(/ in JSON at position \d.*/, '');
      throw new SyntaxError(`${reason} (after byte ${this.#from})`);
    }
  }

  #unexpected(at: number): SyntaxError {
    return new SyntaxError(`Unexpected token in JSON at byte ${at}`);
  }
}

function container(kind: OpenContainer['kind'], key: string): OpenContainer {
  return { kind, items: [], fields: {}, key, filled: false, closed: false };
}

/** Keys of all objects in a value that nests no deeper than the limit. */
function keysIn(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const values: unknown[] = Array.isArray(value) ? value : Object.values(value);
  return values.reduce<number>((sum, item) => sum + keysIn(item), Array.isArray(value) ? 0 : values.length);
}

/**
 * JSON.parse of a text or of its UTF-8 bytes, a few milliseconds at a time.
 *
 * @throws EmoframeError `ERR_ABORTED`; SyntaxError for what is not JSON, passes a limit, or has a text of more than 4 MiB; TypeError for bytes that are not UTF-8
 */
export function parseLongJson(json: string | Uint8Array, limits: JsonLimits): Promise<unknown> {
  const [bytes, text] = typeof json === 'string' ? [Buffer.from(json), json] : [json, undefined];
  return new LongJson(bytes, limits, text).parse();
}
