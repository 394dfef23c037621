// A pickle is a program for a stack machine that may call any Python function: loading one from a stranger is running
// their code. This reader runs only the opcodes that build data, and takes what they call for data too: it makes the tensors and
// containers of a checkpoint, keeps a record of objects of the packages that write checkpoints, and refuses every other name.
import { EmoframeError } from '../../errors.js';
import { yieldWhenDue } from '../../yield.js';
import { BadCall, callValue, costOf, setPairs, storageOf } from './pickleCalls.js';
import {
  isAllowedGlobal,
  longestGlobal,
  PickleBytes,
  type PickleDict,
  PickleGlobal,
  PickleObject,
  type PickleStorage,
  PickleTuple,
  type PickleValue,
} from './pickleValues.js';

export interface PickleLimits {
  opcodes: number;
  /** Containers in containers. */
  depth: number;
  /** Values waiting on the stack, and values remembered. */
  values: number;
}

const defaultLimits: PickleLimits = { opcodes: 1_000_000, depth: 32, values: 1_000_000 };

/** Instructions between two looks at the clock: a fraction of a millisecond. */
const instructionsAtOnce = 1024;

/** What calls may look at in all, in values and characters, for each byte of the pickle: those of checkpoints take a tenth of it. */
const workPerByte = 4;
const leastWork = 10_000;

/** An integer of more bytes is no number of any checkpoint; the states of random generators have 16. */
const longestInteger = 64;

export interface PickleOptions {
  limits?: Partial<PickleLimits>;
  /** Where the pickle begins in the bytes. */
  start?: number;
  /**
   * Called when the attributes of an object have been set, with the place after that instruction. May give another value in
   * its stead, and the place where the pickle goes on: joblib puts arrays between instructions.
   */
  complete?(object: PickleObject, at: number): { value: PickleValue; next: number } | undefined;
}

/** What a pickle held, and what follows it. */
export interface Unpickled {
  value: PickleValue;
  /** The place after the pickle. */
  end: number;
  /** Storages that it refers to, by key. */
  storages: Map<string, PickleStorage>;
}

class Unpickler {
  private at: number;
  private readonly storages = new Map<string, PickleStorage>();
  private readonly stack: PickleValue[] = [];
  /** Where the open sequences begin on the stack. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PickleValue>();
  /** How deep a container nests, for those that hold others. Not weak: V8 takes minutes to look after a million weak ones. */
  private readonly depths = new Map<object, number>();
  private readonly view: DataView;
  /** What calls may still look at. */
  private work: number;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly file: string,
    private readonly limits: PickleLimits,
    private readonly options: PickleOptions,
  ) {
    this.at = options.start ?? 0;
    this.work = workPerByte * bytes.length + leastWork;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  private refuse(what: string): EmoframeError {
    return new EmoframeError('ERR_PICKLE', `The pickle in ${this.file} ${what} (byte ${this.at}).`, {
      file: this.file,
    });
  }

  // Operands

  private take(length: number): number {
    const start = this.at;
    if (length > this.bytes.length - start) throw this.refuse('ends in the middle of a value');
    this.at += length;
    return start;
  }
  private u8 = (): number => this.bytes[this.take(1)]!;
  private u16 = (): number => this.view.getUint16(this.take(2), true);
  private u32 = (): number => this.view.getUint32(this.take(4), true);
  private u64(): number {
    const value = this.view.getBigUint64(this.take(8), true);
    if (value > BigInt(this.bytes.length)) throw this.refuse(`has a value of ${value} bytes, more than itself`);
    return Number(value);
  }
  private text(length: number): string {
    const start = this.take(length);
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.bytes.subarray(start, start + length));
    } catch {
      throw this.refuse('has a string that is not UTF-8');
    }
  }
  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw this.refuse('ends in the middle of a name');
    const text = this.text(end - this.at);
    this.at++;
    return text;
  }
  private raw(length: number): PickleBytes {
    const start = this.take(length);
    return new PickleBytes(this.bytes.subarray(start, start + length));
  }
  /** A two's complement integer; a large one is rounded. */
  private long(length: number): number {
    if (length > longestInteger)
      throw this.refuse(`has an integer of ${length} bytes; no size or offset is that large`);
    const start = this.take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[start + i]!);
    return Number(BigInt.asIntN(8 * length, value));
  }

  // Stack and memory

  private push(value: PickleValue): void {
    if (this.stack.length >= this.limits.values) throw this.refuse(`keeps more than ${this.limits.values} values`);
    this.stack.push(value);
  }
  private pop(): PickleValue {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) throw this.refuse('takes a value from an empty stack');
    return this.stack.pop()!;
  }
  private peek(): PickleValue {
    const value = this.pop();
    this.stack.push(value);
    return value;
  }
  private popToMark(): PickleValue[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw this.refuse('closes a sequence that it did not open');
    return this.stack.splice(mark);
  }
  private remember(key: number): void {
    if (this.memo.size >= this.limits.values) throw this.refuse(`memoizes more than ${this.limits.values} values`);
    this.memo.set(key, this.peek());
  }
  private recall(key: number): PickleValue {
    const value = this.memo.get(key);
    if (value === undefined) throw this.refuse(`reads memo entry ${key}, which it has not stored`);
    return value;
  }

  // Values

  /** Notes that `container` holds `values`, and refuses when it then nests too deep. */
  private holds<T extends PickleValue & object>(container: T, values: readonly PickleValue[]): T {
    let depth = this.depths.get(container) ?? 1;
    for (const value of values) {
      if (typeof value === 'object' && value !== null) depth = Math.max(depth, 1 + (this.depths.get(value) ?? 1));
    }
    if (depth > this.limits.depth) throw this.refuse(`nests containers more than ${this.limits.depth} deep`);
    if (depth > 1) this.depths.set(container, depth);
    return container;
  }
  private list(items: PickleValue[]): PickleValue[] {
    return this.holds(items, items);
  }
  private tuple(items: readonly PickleValue[]): PickleTuple {
    return this.holds(new PickleTuple(items), items);
  }
  private dict(pairs: readonly PickleValue[]): PickleDict {
    const dict: PickleDict = new Map();
    this.checked(() => setPairs(dict, pairs));
    return this.holds(dict, pairs);
  }
  private append(items: readonly PickleValue[]): void {
    const target = this.peek();
    if (target instanceof PickleObject) target.elements ??= [];
    const list = target instanceof PickleObject ? target.elements : target;
    if (!Array.isArray(list)) throw this.refuse('appends to something that is not a list');
    for (const item of items) list.push(item);
    this.holds(target as PickleValue & object, items);
  }
  private setItems(pairs: readonly PickleValue[]): void {
    const target = this.peek();
    if (target instanceof PickleObject) target.entries ??= new Map();
    const dict = target instanceof PickleObject ? target.entries : target;
    if (!(dict instanceof Map)) throw this.refuse('sets an item of something that is not a dict');
    this.checked(() => setPairs(dict, pairs));
    this.holds(target as PickleValue & object, pairs);
  }

  private global(module: string, name: string): PickleGlobal {
    if (module.length + name.length > longestGlobal) {
      throw this.refuse(`asks for a class or function whose name has ${module.length + name.length} characters`);
    }
    if (!isAllowedGlobal(module, name)) {
      throw this.refuse(
        `asks for ${module}.${name}, which is not part of a checkpoint; do not load it in Python unless you trust it`,
      );
    }
    return new PickleGlobal(`${module}.${name}`);
  }
  private stackGlobal(): PickleGlobal {
    const name = this.pop();
    const module = this.pop();
    if (typeof name !== 'string' || typeof module !== 'string') throw this.refuse('asks for something without a name');
    return this.global(module, name);
  }

  private checked<Result>(work: () => Result): Result {
    try {
      return work();
    } catch (error) {
      throw error instanceof BadCall ? this.refuse(error.message) : error;
    }
  }
  private call(argumentTuple: PickleValue, callee: PickleValue): PickleValue {
    for (const cost of costOf(argumentTuple)) {
      this.work -= cost;
      if (this.work < 0) throw this.refuse('gives its calls the same long values over and over');
    }
    const value = this.checked(() => callValue(callee, argumentTuple));
    if (value instanceof Map) return this.holds(value, [...value.values()]);
    if (value instanceof PickleObject || value instanceof PickleTuple) return this.holds(value, [argumentTuple]);
    return value;
  }
  private callWithKeywords(keywords: PickleValue, argumentTuple: PickleValue, callee: PickleValue): PickleValue {
    if (!(keywords instanceof Map)) throw this.refuse('calls something with keyword arguments that are not a dict');
    return this.call(argumentTuple, callee);
  }
  private persistent(id: PickleValue): PickleStorage {
    const storage = this.checked(() => storageOf(id));
    const known = this.storages.get(storage.key);
    if (known === undefined) this.storages.set(storage.key, storage);
    else if (known.type !== storage.type || known.count !== storage.count) {
      throw this.refuse(`describes storage ${storage.key} in two ways`);
    }
    return storage;
  }

  /** State set on an object after its construction. torch puts `_metadata` on a state dict: data that we do not need. */
  private build(): void {
    const state = this.pop();
    const target = this.peek();
    if (target instanceof Map) return;
    if (!(target instanceof PickleObject)) throw this.refuse('sets attributes of something that has none');
    target.state = state;
    this.holds(target, [state]);
    const completed = this.options.complete?.(target, this.at);
    if (completed === undefined) return;
    this.stack[this.stack.length - 1] = completed.value;
    this.at = completed.next;
  }

  async run(): Promise<Unpickled> {
    for (let count = 0; ; count++) {
      if (count % instructionsAtOnce === 0) await yieldWhenDue();
      if (count >= this.limits.opcodes) throw this.refuse(`has more than ${this.limits.opcodes} instructions`);
      const opcode = this.u8();
      if (opcode === 0x2e /* STOP */) return { value: this.pop(), end: this.at, storages: this.storages };
      const value = this.valueOf(opcode);
      if (value === undefined) this.perform(opcode);
      else this.push(value);
    }
  }

  /** The value that an instruction puts on the stack; undefined for instructions that do something else. */
  private valueOf(opcode: number): PickleValue | undefined {
    switch (opcode) {
      case 0x4e: // NONE
        return null;
      case 0x88: // NEWTRUE
        return true;
      case 0x89: // NEWFALSE
        return false;
      case 0x4a: // BININT
        return this.view.getInt32(this.take(4), true);
      case 0x4b: // BININT1
        return this.u8();
      case 0x4d: // BININT2
        return this.u16();
      case 0x8a: // LONG1
        return this.long(this.u8());
      case 0x8b: // LONG4
        return this.long(this.u32());
      case 0x47: // BINFLOAT
        return this.view.getFloat64(this.take(8), false);
      case 0x8c: // SHORT_BINUNICODE
        return this.text(this.u8());
      case 0x58: // BINUNICODE
        return this.text(this.u32());
      case 0x8d: // BINUNICODE8
        return this.text(this.u64());

      case 0x43: // SHORT_BINBYTES
        return this.raw(this.u8());
      case 0x42: // BINBYTES
        return this.raw(this.u32());
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.raw(this.u64());

      case 0x5d: // EMPTY_LIST
      case 0x8f: // EMPTY_SET
        return this.list([]);
      case 0x6c: // LIST
      case 0x91: // FROZENSET
        return this.list(this.popToMark());
      case 0x29: // EMPTY_TUPLE
        return this.tuple([]);
      case 0x74: // TUPLE
        return this.tuple(this.popToMark());
      case 0x85: // TUPLE1
        return this.tuple([this.pop()]);
      case 0x86: // TUPLE2
        return this.tuple([this.pop(), this.pop()].reverse());
      case 0x87: // TUPLE3
        return this.tuple([this.pop(), this.pop(), this.pop()].reverse());
      case 0x7d: // EMPTY_DICT
        return this.dict([]);
      case 0x64: // DICT
        return this.dict(this.popToMark());

      case 0x32: // DUP
        return this.peek();
      case 0x68: // BINGET
        return this.recall(this.u8());
      case 0x6a: // LONG_BINGET
        return this.recall(this.u32());

      case 0x63: // GLOBAL
        return this.global(this.line(), this.line());
      case 0x69: // INST: creates an object of a class, of which we know none
        throw this.refuse(`makes an object of class ${this.line()}.${this.line()}`);
      case 0x93: // STACK_GLOBAL
        return this.stackGlobal();
      case 0x52: // REDUCE
      case 0x81: // NEWOBJ
        return this.call(this.pop(), this.pop());
      case 0x92: // NEWOBJ_EX
        return this.callWithKeywords(this.pop(), this.pop(), this.pop());
      case 0x51: // BINPERSID
        return this.persistent(this.pop());
      default:
        return undefined;
    }
  }

  private perform(opcode: number): void {
    switch (opcode) {
      case 0x80: // PROTO
        if (this.u8() > 5) throw this.refuse('is of a protocol above 5; save it with protocol 2');
        break;
      case 0x95: // FRAME: a hint to buffer so many bytes
        this.u64();
        break;
      case 0x28: // MARK
        if (this.marks.length >= 2 * this.limits.depth) throw this.refuse('opens too many sequences');
        this.marks.push(this.stack.length);
        break;
      case 0x30: // POP, which takes the mark when nothing is above it
        if (this.stack.length === this.marks.at(-1)) this.marks.pop();
        else this.pop();
        break;
      case 0x31: // POP_MARK
        this.popToMark();
        break;
      case 0x61: // APPEND
        this.append([this.pop()]);
        break;
      case 0x65: // APPENDS
      case 0x90: // ADDITEMS
        this.append(this.popToMark());
        break;
      case 0x73: // SETITEM
        this.setItems([this.pop(), this.pop()].reverse());
        break;
      case 0x75: // SETITEMS
        this.setItems(this.popToMark());
        break;
      case 0x94: // MEMOIZE
        this.remember(this.memo.size);
        break;
      case 0x71: // BINPUT
        this.remember(this.u8());
        break;
      case 0x72: // LONG_BINPUT
        this.remember(this.u32());
        break;
      case 0x62: // BUILD
        this.build();
        break;
      default:
        throw this.refuse(`uses instruction 0x${opcode.toString(16).padStart(2, '0')}, which no checkpoint needs`);
    }
  }
}

/**
 * The value of a pickle (protocols 2 to 5), a few milliseconds at a time, as data: `None`, booleans, numbers, strings, bytes, lists, tuples, dicts, tensors that
 * refer to storages by key, and records of objects. `file` is named in errors.
 *
 * Errors: `ERR_PICKLE`: it asks for a class or function that no checkpoint has (named in the message), is malformed, or passes
 * a limit.
 *
 * @example
 * const { value } = await unpickle(bytes, 'pytorch_model.bin'); // Map of name → PickleTensor
 */
export async function unpickle(bytes: Uint8Array, file: string, options: PickleOptions = {}): Promise<Unpickled> {
  return new Unpickler(bytes, file, { ...defaultLimits, ...options.limits }, options).run();
}
