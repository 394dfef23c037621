// The addon itself, below all that TypeScript checks: bytes as calls of its functions, in any order, with arguments that are
// almost right, or of any kind, which change or end things while they are looked at or worked on. All that may come of a call
// is a result, or an error with a code.
import { closeSync, existsSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { binding } from '../../../dist/model/binding.js';
import { bindingCalls, engineCalls, engineOptions, modelCalls, models, weightsOf } from './addonCalls.js';
import { Choices, change, viewsOf } from './addonValues.js';

// An addon that counts what is reached of it: CMake's EMOFRAME_COUNTERS.
const counting = fileURLToPath(new URL('../../../build/fuzz-addon/Release/emoframe.node', import.meta.url));
const countersBytes = 1 << 16;

/** The addon's counters, which lie in a file that it maps; before it is loaded. */
function openCounters() {
  const file = join(tmpdir(), `emoframe-counters-${process.pid}`);
  const zeros = new Uint8Array(countersBytes);
  writeFileSync(file, zeros);
  process.env.EMOFRAME_COUNTERS_FILE = file;
  const descriptor = openSync(file, 'r+');
  process.on('exit', () => closeSync(descriptor));
  return {
    clear: () => writeSync(descriptor, zeros, 0, countersBytes, 0),
    fetch: (into) => readSync(descriptor, into, 0, countersBytes, 0),
  };
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');
/** Where `ArrayBuffer.detached` is not yet known. */
function isDetached(buffer) {
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

const thrown = 'A getter threw.';

/** What a caller gets wrong is said with a code; anything else is a fault of the addon. `known`: V8's own words for it. */
function check(error, name, known) {
  const { code, message } = error ?? {};
  if (message === thrown || error?.cancelled === true || known?.test(String(message))) return;
  const refused = typeof code === 'string' && /^ERR_[A-Z_]+$/.test(code) && code !== 'ERR_UNEXPECTED';
  const ours = code === 'ERR_INTERNAL' && !message.includes('for inference only');
  if (!refused || ours) throw new Error(`${name} failed with ${code}: ${error?.stack}`);
}

let addon;
/** Of a MiB each, which the addon holds in place of a copy. */
let large;

/** One input: an engine and a model of its own, so that nothing depends on the inputs before. */
class Caller {
  #choices;
  #engine;
  #model;
  #pending = [];
  #views = [];
  #depth = 0;

  constructor(bytes) {
    this.#choices = new Choices(bytes);
    this.#engine = addon.createEngine(engineOptions);
  }

  get #state() {
    return { engine: this.#engine, model: this.#model, large, misdeeds: this.#misdeeds };
  }

  /** What happens while arguments are looked at, or their call is still running. What they give, a getter gives. */
  #misdeeds = [
    () => {
      throw new Error(thrown);
    },
    () => this.#shrink(),
    () => this.#transfer(),
    () => this.#model?.dispose(),
    () => this.#engine.dispose(),
    () => addon.endEngines(),
    () => void this.#call(),
    () => undefined,
    () => Number.NaN,
    () => collectGarbage(),
  ];

  #shrink() {
    for (const { buffer } of this.#views) if (buffer.resizable && !isDetached(buffer)) buffer.resize(0);
  }

  #transfer() {
    for (const { buffer } of this.#views) {
      if (!(buffer instanceof ArrayBuffer) || buffer.byteLength === 0 || large.some((its) => its.buffer === buffer))
        continue;
      structuredClone(buffer, { transfer: [buffer] });
    }
  }

  async perform() {
    this.#model = await this.#engine.createModel(this.#choices.pick(models));
    await this.#model.importTensors(weightsOf(this.#model));
    for (let calls = 0; calls < 10 && !this.#choices.over; calls++) {
      this.#call();
      if (this.#choices.below(3) > 0) await this.#settle();
    }
    await this.#settle();
    this.#engine.dispose();
  }

  async #settle() {
    const settled = await Promise.allSettled(this.#pending.splice(0));
    for (const { status, reason } of settled) if (status === 'rejected') throw reason;
  }

  /** The next call, which is not waited for: what comes after it is queued behind. */
  #call() {
    const choices = this.#choices;
    const kind = choices.below(16);
    if (kind === 0) this.#try(addon, choices.pick(bindingCalls));
    else if (kind < 6) this.#try(this.#engine, choices.pick(engineCalls));
    else this.#try(this.#model, choices.pick(modelCalls));
  }

  #tensor() {
    const tensors = this.#model.tensors();
    const { name, shape } = tensors[this.#choices.below(tensors.length)];
    return { name, count: shape.reduce((product, side) => product * side, 1) };
  }

  #try(receiver, [name, argumentsOf]) {
    if (this.#depth > 1) return;
    this.#depth++;
    const choices = this.#choices;
    const args = argumentsOf(argumentsOf.length > 0 ? this.#tensor() : undefined);
    for (let changes = choices.below(5) - 1; changes > 0; changes--) {
      try {
        change(choices, this.#state, args);
      } catch {
        // What was changed before cannot be changed so.
      }
    }
    let known;
    try {
      this.#views.push(...viewsOf(args));
      let result;
      switch (choices.below(24)) {
        case 1:
          known = /Illegal invocation|Invalid argument/;
          result = receiver[name].call(
            choices.pick([undefined, {}, this.#engine, Object.create(receiver), []]),
            ...args,
          );
          break;
        case 2:
          known = /without '?new|cannot be invoked without/;
          result = receiver === addon ? undefined : receiver.constructor(...args);
          break;
        case 3:
          result = receiver === addon ? undefined : Reflect.construct(receiver.constructor, args, Array);
          break;
        default:
          result = receiver[name](...args);
      }
      if (result instanceof Promise) this.#pending.push(this.#await(result, name));
      else if (name === 'createEngine') this.#adopt(result);
      if (choices.below(8) === 1) choices.pick(this.#misdeeds.slice(1))();
    } catch (error) {
      check(error, name, known);
    }
    this.#depth--;
  }

  /** What is made is used from then on, as is what is large. */
  async #await(promise, name) {
    try {
      const result = await promise;
      if (name !== 'createModel' || this.#choices.below(2) === 0) return;
      this.#model = result;
      await result.importTensors(weightsOf(result));
    } catch (error) {
      check(error, name);
    }
  }

  #adopt(engine) {
    if (engine?.createModel === undefined || this.#choices.below(2) === 0) engine?.dispose?.();
    else {
      this.#engine.dispose();
      this.#engine = engine;
    }
  }
}

async function perform(bytes) {
  addon ??= existsSync(counting) ? createRequire(import.meta.url)(counting) : binding();
  large ??= [addon.largeFloats(1 << 18), addon.largeFloats(1 << 18)];
  await new Caller(bytes).perform();
}

export const addonReader = {
  file: 'calls.bin',
  seeds: async () => [
    ...[0, 1].flatMap((model) => modelCalls.map((_, i) => Buffer.from([model, 6, i, 0, 0, 0, 0]))),
    ...engineCalls.map((_, i) => Buffer.from([0, 1, i, 0, 0, 0, 0])),
    ...bindingCalls.map((_, i) => Buffer.from([0, 0, i, 0, 0, 0, 0])),
  ],
  openCounters: () => (existsSync(counting) ? openCounters() : undefined),
  read: async (path) => perform(await readFile(path)),
  readBytes: perform,
};
