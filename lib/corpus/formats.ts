// The three manifest formats, each a stream of rows: a manifest is never held whole.
import { pipeline, Readable } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { EmoframeError } from '../errors.js';
import { isObject, readJsonl as readJsonLines } from '../files/json.js';
import { type LineLimit, readLines as readFileLines, readParts } from '../files/read.js';
import { BadRow, type RawRow } from './row.js';

/** A line or CSV record longer than this is not a row of a manifest. */
export const MAX_ROW_CHARACTERS = 2 ** 22;

/** The last field of a list is its label. */
const MAX_LABEL_CHARACTERS = 1000;

/** A table with more columns is not one of utterances. */
const MAX_COLUMNS = 1000;

/** A row with its 1-based line, or why there is none. */
export interface ReadRow {
  row: number;
  raw?: RawRow;
  reason?: string;
}

/** One JSON object a line. Empty lines are skipped. */
export async function* readJsonl(path: string, signal?: AbortSignal): AsyncGenerator<ReadRow> {
  for await (const { row, value, reason } of readJsonLines(path, lineLimit(path), signal)) {
    if (reason !== undefined) yield { row, reason: `not JSON: ${reason}` };
    else if (isObject(value)) yield { row, raw: value };
    else yield { row, reason: 'not a JSON object' };
  }
}

/**
 * The lists of the reference code: `wav_name wav_path wav_label`, separated by white space (as it reads them) or by
 * commas (as its manual writes them). The label, often a number, stays text; a path may hold spaces.
 */
export async function* readScp(path: string, signal?: AbortSignal): AsyncGenerator<ReadRow> {
  for await (const { row, line } of readLines(path, signal)) {
    yield parseRow(row, () => {
      const separator = /^[^\s,]+\s*,/.test(line) ? /,/ : /\s/;
      // The first and the last: in between is the path. One expression for all three takes time by the square of the spaces.
      const text = line.trim();
      const first = text.search(separator);
      let last = text.length - 1;
      const least = Math.max(first, text.length - MAX_LABEL_CHARACTERS);
      while (last > least && !separator.test(text[last]!)) last--;
      const [id, audio, label] = [text.slice(0, first), text.slice(first + 1, last).trim(), text.slice(last + 1)];
      if (first < 1 || last <= least || audio === '' || label === '') {
        throw new BadRow('expected three fields: wav_name, wav_path, wav_label');
      }
      return { id, audio, label };
    });
  }
}

/** A header line and a record a row; quotes as in RFC 4180. `required`: columns that there must be. */
export async function* readCsv(
  path: string,
  required: readonly string[] = ['audio'],
  signal?: AbortSignal,
): AsyncGenerator<ReadRow> {
  const parser = parse({
    bom: true,
    columns: (header: string[]) => {
      // The library writes them all out for every row that does not fit.
      if (header.length > MAX_COLUMNS) {
        throw new EmoframeError('ERR_CORPUS', `${path} has ${header.length} columns, more than ${MAX_COLUMNS}.`, {
          file: path,
          row: 1,
        });
      }
      return header.map((name) => name.trim());
    },
    info: true,
    max_record_size: MAX_ROW_CHARACTERS,
    raw: true,
    relax_column_count: true,
    skip_empty_lines: true,
    trim: true,
  });
  // `pipeline` hands a reading error on to the parser, which throws it to the loop.
  pipeline(Readable.from(readParts(path, signal)), parser, () => undefined);
  let columns: number | undefined;
  let doubled = 0;
  try {
    for await (const item of parser) {
      const { record, raw, info } = item as {
        record: RawRow;
        raw: string;
        info: { lines: number; columns: { name: string }[]; error?: Error };
      };
      columns ??= checkColumns(
        info.columns.map((column) => column.name),
        required,
        path,
      );
      // csv-parse counts a Windows line end inside quotes twice.
      doubled += raw.trim().match(/\r\n/g)?.length ?? 0;
      const row = info.lines - doubled;
      // Set where a record has too many or too few fields.
      if (info.error !== undefined) {
        yield { row, reason: `expected ${columns} fields as in the header: ${info.error.message}` };
      } else {
        yield { row, raw: record };
      }
    }
  } catch (error) {
    // After a broken quote nothing that follows can be trusted.
    if (!(error instanceof CsvError)) throw error;
    yield {
      row: Number(error.lines ?? 0) - doubled,
      reason: `not CSV, and nothing after it was read: ${error.message}`,
    };
  }
}

function checkColumns(names: string[], required: readonly string[], path: string): number {
  if (!required.every((name) => names.includes(name))) {
    const wanted = required.map((name) => `"${name}"`).join(', ');
    throw new EmoframeError(
      'ERR_CORPUS',
      `The first line of ${path} must name the columns, among them ${wanted}, but reads: ${names.join(', ')}.`,
      { file: path, row: 1 },
    );
  }
  return names.length;
}

function parseRow(row: number, parseLine: () => RawRow): ReadRow {
  try {
    return { row, raw: parseLine() };
  } catch (error) {
    if (error instanceof BadRow) return { row, reason: error.message };
    throw error;
  }
}

/** Lines that are not empty, numbered from 1. Errors: `ERR_CORPUS` for one that is too long, `ERR_READ`, `ERR_ABORTED`. */
export const readLines = (path: string, signal?: AbortSignal) => readFileLines(path, lineLimit(path), signal);

function lineLimit(path: string): LineLimit {
  return {
    characters: MAX_ROW_CHARACTERS,
    refuse: (row) =>
      new EmoframeError(
        'ERR_CORPUS',
        `Line ${row} of ${path} has more than ${MAX_ROW_CHARACTERS} characters: this is not a manifest.`,
        { file: path, row },
      ),
  };
}
