import { extname, isAbsolute, relative, resolve, sep } from 'node:path';
import { isObject, parseJson } from '../files/json.js';
import { isDiskFailure, statsOf, systemCode } from '../files/read.js';
import { given } from '../given.js';
import { printable, quoted } from '../quote.js';
import type { Segment, Utterance, Values } from './types.js';

/** A manifest's row before it is checked. Unknown fields are ignored. */
export type RawRow = Record<string, unknown>;

/** Times in manifests are rounded; two segments may overlap, and the last may pass the end, by this much. */
export const TIME_TOLERANCE_SECONDS = 0.02;

const SPLITS = ['train', 'validation', 'test'] as const;
const MAX_SEGMENTS = 100_000;

/** A reason for leaving a row out. */
export class BadRow extends Error {
  constructor(reason = 'it cannot be read') {
    // Reasons quote what a manifest holds, and are printed.
    super(printable(reason));
  }
}

/**
 * Turns rows into utterances, remembering what has been seen: ids, which must not repeat, and audio files, of which each
 * is looked for once.
 */
export class RowReader {
  /** Where each id was read. */
  readonly #ids = new Map<string, string>();
  /** Of each audio file, why it cannot be used; undefined: it is there. */
  readonly #files = new Map<string, string | undefined>();

  /** @param folder where relative paths start */
  constructor(private readonly folder: string) {}

  /** Throws `BadRow` with the reason when the row, from `place`, cannot be used. */
  async read(raw: RawRow, place: string): Promise<Utterance> {
    const written = text(raw, 'audio');
    if (written === undefined) throw new BadRow('the field "audio" is missing or empty');
    const audio = isAbsolute(written) ? written : resolve(this.folder, written);
    const startSeconds = seconds(raw, 'start');
    const endSeconds = seconds(raw, 'end');
    if (endSeconds !== undefined && endSeconds <= (startSeconds ?? 0)) {
      throw new BadRow(`"end" (${endSeconds}) is not after "start" (${startSeconds ?? 0})`);
    }
    const channel = channelOf(raw);
    const split = oneOf(text(raw, 'split'));
    const label = text(raw, 'label');
    const speaker = text(raw, 'speaker');
    const session = text(raw, 'session');
    const length = endSeconds === undefined ? undefined : endSeconds - (startSeconds ?? 0);
    const segments = await readSegments(raw.segments, length);
    const values = await readValues(raw.values);
    const missing = await this.#missing(audio);
    if (missing !== undefined) throw new BadRow(missing);
    const id = text(raw, 'id') ?? defaultId(this.folder, audio, startSeconds, endSeconds, channel);
    const first = this.#ids.get(id);
    if (first !== undefined) throw new BadRow(`the id "${id}" is already used by ${first}`);
    this.#ids.set(id, place);
    return {
      id,
      audio,
      ...given({ label, speaker, session, split, startSeconds, endSeconds, channel, segments, values }),
    };
  }

  async #missing(path: string): Promise<string | undefined> {
    if (!this.#files.has(path)) this.#files.set(path, await missing(path));
    return this.#files.get(path);
  }
}

async function missing(path: string): Promise<string | undefined> {
  try {
    if ((await statsOf(path)).isFile()) return undefined;
  } catch (error) {
    if (isDiskFailure(error)) throw error;
    if (systemCode((error as Error).cause) === 'EACCES') {
      return `the audio file ${path} cannot be reached: permission denied`;
    }
  }
  return `there is no audio file ${path}`;
}

/** The path below the manifest, without extension, and the range and channel if there are any: the same wherever the corpus lies. */
function defaultId(
  folder: string,
  audio: string,
  start: number | undefined,
  end: number | undefined,
  channel: number | undefined,
): string {
  const path = relative(folder, audio).split(sep).join('/');
  const stem = path.slice(0, path.length - extname(path).length);
  const range = start === undefined && end === undefined ? '' : `@${start ?? 0}-${end ?? 'end'}`;
  return `${stem}${range}${channel === undefined ? '' : `#${channel}`}`;
}

/** A text field; numbers are kept as they are written, empty text is absence. */
function text(raw: RawRow, field: string): string | undefined {
  const value = raw[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string' && typeof value !== 'number') {
    throw new BadRow(`expected text for "${field}" but received ${quoted(value, 60)}`);
  }
  const trimmed = String(value).trim();
  return trimmed === '' ? undefined : trimmed;
}

function seconds(raw: RawRow, field: string): number | undefined {
  const value = text(raw, field);
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!Number.isFinite(number) || number < 0) {
    throw new BadRow(`expected seconds, 0 or more, for "${field}" but received ${quoted(raw[field], 60)}`);
  }
  return number;
}

/** As in speech toolkits, channels are counted from 1. */
function channelOf(raw: RawRow): number | undefined {
  const value = text(raw, 'channel');
  if (value === undefined) return undefined;
  if (!/^[1-9]\d{0,2}$/.test(value)) {
    throw new BadRow(`expected 1 (the first) or more for "channel" but received ${quoted(raw.channel, 60)}`);
  }
  return Number(value);
}

function oneOf(split: string | undefined): Utterance['split'] {
  if (split === undefined) return undefined;
  const known = SPLITS.find((name) => name === split);
  if (known === undefined) throw new BadRow(`expected train, validation or test for "split" but received "${split}"`);
  return known;
}

/** Segments from JSON, or from its text in a CSV cell; in order, apart, and inside the utterance where its end is known. */
async function readSegments(value: unknown, length: number | undefined): Promise<Segment[] | undefined> {
  if (value === undefined || value === null || value === '') return undefined;
  const list = await jsonOf(value, 'segments');
  if (!Array.isArray(list) || list.length > MAX_SEGMENTS) {
    throw new BadRow(`expected a list of at most ${MAX_SEGMENTS} {start, end, label} for "segments"`);
  }
  let previousEnd = 0;
  return list.map((item: unknown, index) => {
    const name = `segment ${index + 1}`;
    if (typeof item !== 'object' || item === null) throw new BadRow(`${name} is not {start, end, label}`);
    const raw = item as RawRow;
    const start = seconds(raw, 'start');
    const end = seconds(raw, 'end');
    const label = text(raw, 'label');
    if (start === undefined || end === undefined || label === undefined) {
      throw new BadRow(`${name} lacks its start, end or label`);
    }
    if (end <= start) throw new BadRow(`${name} ends (${end}) before it starts (${start})`);
    if (start < previousEnd - TIME_TOLERANCE_SECONDS) {
      throw new BadRow(`${name} starts (${start}) before the one ahead of it ends (${previousEnd})`);
    }
    if (length !== undefined && end > length + TIME_TOLERANCE_SECONDS) {
      throw new BadRow(`${name} ends (${end}) after the utterance does (${length.toFixed(3)})`);
    }
    previousEnd = end;
    return { start, end, label };
  });
}

/** Values by dimension from JSON, or from its text in a CSV cell. */
async function readValues(value: unknown): Promise<Values | undefined> {
  if (value === undefined || value === null || value === '') return undefined;
  const given = await jsonOf(value, 'values');
  if (!isObject(given)) throw new BadRow('expected {dimension: number} for "values"');
  for (const [name, number] of Object.entries(given)) {
    if (typeof number === 'number' && Number.isFinite(number)) continue;
    throw new BadRow(`expected a number for ${quoted(name, 60)} of "values" but received ${quoted(number, 60)}`);
  }
  return given as Record<string, number>;
}

/** A cell of CSV has JSON as text. */
async function jsonOf(value: unknown, field: string): Promise<unknown> {
  if (typeof value !== 'string') return value;
  try {
    return await parseJson(value);
  } catch {
    throw new BadRow(`"${field}" is not JSON: ${quoted(value, 60)}`);
  }
}
