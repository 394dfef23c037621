// Markdown that holds text from files, and keeps its structure whatever the text is.
import { oneLine } from '../quote.js';

/** A table of cells that are Markdown: numbers, words of this package, and what `plain` and `code` give. */
export function table(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Text as Markdown that shows it, on one line: no emphasis, cell, element, entity or formula, and no address that becomes a link. */
export function plain(text: string): string {
  return onOneLine(text).replace(/[\\`*_[\]<>|#&~$!@]|:(?=\/\/)|(?<=\bwww)\./gi, '\\$&');
}

/** Text as code, on one line. */
export function code(text: string): string {
  const line = onOneLine(text);
  // A code span can hold no grave accent of its own, and in a table no bar.
  return line === '' || /[`|]|^ | $/.test(line) ? `<code>${plain(line)}</code>` : `\`${line}\``;
}

function onOneLine(text: string): string {
  return oneLine(text.replace(/[ \t\r\n]+/g, ' '));
}
