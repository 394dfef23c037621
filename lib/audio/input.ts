// What a caller may hand over as audio, and how it becomes speech of 16 kHz mono.
import { IncomingMessage } from 'node:http';
import { basename, extname } from 'node:path';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { unlessAborted } from '../abort.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { describe, parseOptions, type Shape, strictOptions } from '../issues.js';
import { ownBytes, ownFloats } from '../ownCopy.js';
import { reasonOf } from '../quote.js';
import { checkFinite, checkRate, decodeBytes } from './decode.js';
import { checkLimit, collect, toSpeech } from './load.js';
import type { AudioPool } from './pool.js';
import { SAMPLE_RATE } from './resample.js';
import type { AudioRange, DecodedAudio } from './types.js';
import type { RawFormat } from './wav.js';

/**
 * Audio in any of the forms that a program has it in:
 *
 * - `string`: the path of a file, decoded in a thread;
 * - {@link AudioFile}: a part of a file: a time range, a channel;
 * - `Float32Array`: mono samples at ±1, of `sampleRate`;
 * - `Uint8Array` (a `Buffer`): the bytes of an audio file, or raw samples of `format`;
 * - a stream of such bytes: a Node `Readable` (a request, a pipe), a web `ReadableStream`, any `AsyncIterable<Uint8Array>`;
 * - a stream of mono samples of `sampleRate`: any `AsyncIterable<Float32Array>`.
 *
 * Samples and bytes are copied, those of a stream as they come: what becomes of their buffer later does not matter.
 *
 * A stream that is not read to its end, as after an error, is destroyed; a request is left open for its response.
 */
export type AudioInput = string | AudioFile | Float32Array | Uint8Array | AsyncIterable<Uint8Array | Float32Array>;

/**
 * A part of a file, decoded in a thread.
 *
 * @example
 * await model.predict({ path: 'call.wav', channel: 2, startSeconds: 30, endSeconds: 42.5 });
 */
export interface AudioFile extends AudioRange {
  path: string;
}

/** An input that is not in a file. */
export type LiveInput = Exclude<AudioInput, string | AudioFile>;

/** How to read an {@link AudioInput} that does not say so itself. */
export interface AudioInputOptions {
  /** Of `Float32Array`s: samples a second, 1 000 to 192 000. Default 16 000. */
  sampleRate?: number;
  /** Of bytes: how raw samples are written. Absent: the bytes are those of a WAV, FLAC, MP3 or Ogg file. */
  format?: RawFormat;
  /** Stops the work with `ERR_ABORTED`. */
  signal?: AbortSignal;
  /** Longer audio is refused with `ERR_AUDIO_LIMIT`, before more of it is held. Default: 4.6 hours where all of it is held, or none. */
  maxSeconds?: number;
  /**
   * A stream that gives nothing for so many seconds while it is waited for is given up with `ERR_AUDIO`; 0: never. Default 60, but 0 where
   * results come while a stream goes on, which may be live.
   */
  idleSeconds?: number;
}

const fileSchema = strictOptions({
  path: z.string(),
  startSeconds: z.number().exactOptional(),
  endSeconds: z.number().exactOptional(),
  channel: z.number().exactOptional(),
} satisfies Shape<AudioFile>);

/**
 * All of an input as 16 kHz mono. Samples and bytes must stay as they are until then: `ownInput` copies those of a caller.
 *
 * @param name of the audio in errors
 * @throws `ERR_ABORTED`; and what decoding throws
 */
export async function loadInput(
  pool: AudioPool,
  input: AudioInput,
  options: AudioInputOptions,
  name: string,
): Promise<Float32Array> {
  if (isFile(input)) {
    const { path, ...range } = fileOf(input);
    return pool.load(path, range, options.signal, options.maxSeconds);
  }
  if (!(input instanceof Float32Array) || (options.sampleRate ?? SAMPLE_RATE) !== SAMPLE_RATE)
    return collect(streamInput(input, { idleSeconds: IDLE_SECONDS, ...options }, name), name);
  // Checked, but not copied.
  checkLimit(input.length, name, options.maxSeconds);
  throwIfAborted(options.signal);
  for (let position = 0; position < input.length; position += CHECKED_SAMPLES) {
    if (position > 0) {
      await new Promise(setImmediate);
      throwIfAborted(options.signal);
    }
    checkFinite(input.subarray(position, position + CHECKED_SAMPLES), name, position);
  }
  return input;
}

/**
 * What a caller gave as audio, looked at once: of a file, what its properties are now.
 *
 * @throws `ERR_ARGUMENT` for what is no {@link AudioInput}, or a bound that is no number
 */
export function audioOf(input: unknown): AudioInput {
  let isAudio: boolean;
  try {
    if (typeof input === 'object' && input !== null && !isLive(input) && 'path' in input) {
      return parseOptions(fileSchema, input);
    }
    isAudio = typeof input === 'string' || isLive(input);
  } catch (error) {
    if (error instanceof EmoframeError) throw error;
    // A proxy, or a property that throws when it is read.
    throw new EmoframeError('ERR_ARGUMENT', `What was given as audio cannot be read: ${reasonOf(error)}.`, {
      cause: error,
    });
  }
  if (isAudio) return input as AudioInput;
  throw new EmoframeError(
    'ERR_ARGUMENT',
    `Expected a path, { path }, Float32Array, Uint8Array or a stream of bytes or samples as audio but received ${kindOf(input)}.`,
  );
}

/** Whether something is an input that is not in a file. */
export function isLive(input: unknown): input is LiveInput {
  if (ArrayBuffer.isView(input)) return input instanceof Float32Array || input instanceof Uint8Array;
  return isAsyncIterable(input);
}

/** A proxy of an array is none: nobody else can read its memory. */
function isSamples(value: unknown): value is Float32Array {
  return ArrayBuffer.isView(value) && value instanceof Float32Array;
}

/** Whether an input is a file or a part of one. */
export function isFile(input: AudioInput): input is string | AudioFile {
  return !isLive(input);
}

/** What of a file an input names. */
export function fileOf(input: string | AudioFile): AudioFile {
  return typeof input === 'string' ? { path: input } : input;
}

/** The name of an input that was given none: its file's without ending, and its channel. */
export function idOf(input: AudioInput): string {
  if (!isFile(input)) return 'audio';
  const { path, channel } = fileOf(input);
  return `${basename(path, extname(path))}${channel === undefined ? '' : `#${channel}`}`;
}

/** What an audio is called in errors. */
export function nameOf(id: string, input: AudioInput): string {
  return isFile(input) ? fileOf(input).path : id;
}

/** An input other than a file as it comes: 16 kHz mono, in parts. */
export async function* streamInput(
  input: LiveInput,
  options: AudioInputOptions,
  name: string,
): AsyncGenerator<Float32Array> {
  throwIfAborted(options.signal);
  let length = 0;
  for await (const samples of toSpeech(decodeInput(input, options, name), name)) {
    length += samples.length;
    // Without a limit, audio in parts may have any length.
    if (options.maxSeconds !== undefined) checkLimit(length, name, options.maxSeconds);
    yield samples;
    throwIfAborted(options.signal);
  }
}

async function* decodeInput(
  input: LiveInput,
  { sampleRate = SAMPLE_RATE, format, signal, idleSeconds = 0 }: AudioInputOptions,
  name: string,
): AsyncGenerator<DecodedAudio> {
  if (input instanceof Float32Array) {
    yield* decodeSamples([input], sampleRate, name);
  } else if (input instanceof Uint8Array) {
    yield* decodeBytes(input, name, format);
  } else {
    const chunks = chunksOf(input, name, { signal, idleSeconds });
    try {
      // Bytes or samples: the first chunk shows which.
      const first = await chunks.next();
      if (isSamples(first.value)) yield* decodeSamples(after(first, chunks), sampleRate, name);
      else yield* decodeBytes(after(first, chunks) as AsyncIterable<Uint8Array>, name, format);
    } finally {
      await chunks.return(undefined);
    }
  }
}

async function* decodeSamples(
  chunks: Iterable<unknown> | AsyncIterable<unknown>,
  sampleRate: number,
  name: string,
): AsyncGenerator<DecodedAudio> {
  checkRate(sampleRate, name);
  let position = 0;
  for await (const chunk of chunks) {
    if (!isSamples(chunk)) {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected chunks of Float32Array, as the first was, but received ${kindOf(chunk)}.`,
      );
    }
    for await (const samples of slices(chunk)) {
      checkFinite(samples, name, position);
      position += samples.length;
      yield { channels: [samples], sampleRate };
    }
  }
}

/** Far above what a slow sender needs for the next of its bytes. */
const IDLE_SECONDS = 60;

const SLICE_SAMPLES = 2 ** 16;
/** Under a millisecond. */
const CHECKED_SAMPLES = 2 ** 20;

/** Long audio in parts, between which others get their turn on this thread. */
async function* slices(samples: Float32Array): AsyncGenerator<Float32Array> {
  for (let position = 0; position < samples.length; position += SLICE_SAMPLES) {
    if (position > 0) await new Promise(setImmediate);
    yield samples.subarray(position, position + SLICE_SAMPLES);
  }
}

async function* after(first: IteratorResult<unknown>, rest: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  if (first.done === true) return;
  yield first.value;
  yield* rest;
}

/** The chunks of a stream; an abort ends the wait for the next one, and the stream is ended when no more is wanted. */
async function* chunksOf(
  stream: AsyncIterable<unknown>,
  name: string,
  { signal, idleSeconds }: { signal: AbortSignal | undefined; idleSeconds: number },
): AsyncGenerator<unknown> {
  let source: AsyncIterator<unknown> | undefined;
  let over = false;
  // A function of its own: what is no stream after all may throw at once.
  const next = async () => {
    source ??= stream[Symbol.asyncIterator]();
    const { value, done } = await source.next();
    return { value, done: done === true };
  };
  try {
    for (;;) {
      const { value, done } = await unlessIdle(unlessAborted(next(), signal), name, idleSeconds).catch(
        (error: unknown) => {
          throw streamError(error, name);
        },
      );
      over = done;
      if (over) return;
      yield ownChunk(value, name);
    }
  } finally {
    if (!over) leave(stream, source);
  }
}

/** Waits for what comes of a stream, but not longer than so many seconds; 0: without end. */
async function unlessIdle<Result>(coming: Promise<Result>, name: string, seconds: number): Promise<Result> {
  if (seconds === 0) return coming;
  let timer: NodeJS.Timeout | undefined;
  const idle = new Promise<never>((_, reject) => {
    const message = `Nothing has come of ${name} for ${seconds} seconds: it was given up (idleSeconds).`;
    timer = setTimeout(() => reject(new EmoframeError('ERR_AUDIO', message, { file: name })), seconds * 1000);
  });
  try {
    return await Promise.race([coming, idle]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a stream throws: an error of ours as it is. */
function streamError(thrown: unknown, name: string): EmoframeError {
  try {
    if (thrown instanceof EmoframeError) return thrown;
  } catch {
    // A proxy.
  }
  return new EmoframeError('ERR_AUDIO', `${name} cannot be read: ${reasonOf(thrown)}.`, { file: name, cause: thrown });
}

/** A source may use one buffer for all of its chunks, or transfer it. */
function ownChunk(chunk: unknown, name: string): unknown {
  if (chunk instanceof Float32Array) return ownFloats(chunk, `a chunk of ${name}`);
  return chunk instanceof Uint8Array ? ownBytes(chunk, `a chunk of ${name}`) : chunk;
}

/** Ends a stream of which no more is wanted. It is not waited for: one that hangs would hang this too. */
function leave(stream: AsyncIterable<unknown>, source: AsyncIterator<unknown> | undefined): void {
  // A request shares its socket with the response, which may be about to say what was wrong with it.
  if (stream instanceof IncomingMessage) return;
  try {
    // Only this reaches a Node stream that hangs.
    if (stream instanceof Readable) stream.destroy();
    else Promise.resolve(source?.return?.()).catch(() => undefined);
  } catch {
    // What was wrong with it is known already.
  }
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

/** The name of an object's class, which says more than its content; other values as they are. */
export function kindOf(value: unknown): string {
  try {
    const name: unknown = typeof value === 'object' && value !== null ? value.constructor.name : undefined;
    if (typeof name === 'string' && name !== '') return name;
  } catch {
    // It has none.
  }
  return describe(value);
}
