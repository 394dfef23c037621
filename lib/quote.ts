// How text of others is shown. It may come from a stranger's file, and ends on a terminal, in a log or on a page: it must not drive
// the one, nor flood the other, nor pretend to be several lines, nor turn around what stands beside it.

/** Control characters, half surrogates, line and paragraph separators, and marks that turn text around. */
const unprintable = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;
/** Those of them that JSON.stringify leaves as they are. */
const unprintableInJson = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const longest = 2000;
const keptEnd = 300;

/** Text as one line, whose control characters are written as `\u001b`. */
export function oneLine(text: string): string {
  return text.replace(unprintable, escaped);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** A message: one line of bounded length. */
export function printable(text: string): string {
  // Escapes are six times as long as what they stand for.
  return shortened(oneLine(shortened(text).replaceAll('\n', ' ')));
}

/** The start and the end, where a sentence says what to do. */
function shortened(text: string): string {
  return text.length <= longest ? text : `${text.slice(0, longest - keptEnd)} … ${text.slice(-keptEnd)}`;
}

/** JSON of a value, which has the same value when it is read, and no character that drives a terminal. */
export function asJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(unprintableInJson, escaped);
}

/** A value as JSON, cut after `length` characters. */
export function quoted(value: unknown, length = 120): string {
  let text: string;
  try {
    // What JSON has no word for, as undefined or a function, is left to its name.
    text = JSON.stringify(value) ?? String(value);
  } catch {
    text = Array.isArray(value) ? 'a list that cannot be shown' : 'an object that cannot be shown';
  }
  return text.length > length ? `${text.slice(0, length)}…` : text;
}
