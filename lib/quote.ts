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

/** A value as JSON, cut after `length` characters, whatever it is: what may be long is not gone through to its end. */
export function quoted(value: unknown, length = 120): string {
  const text = shown(value, length);
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

function shown(value: unknown, length: number): string {
  try {
    if (typeof value === 'bigint') return String(value);
    if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
    let left = length;
    // Whatever is left out would come after what is kept.
    const bounded = (_: string, part: unknown) => {
      if (--left < 0) return null;
      if (typeof part === 'bigint') return String(part);
      if (typeof part === 'string' || Array.isArray(part)) return part.slice(0, length + 1);
      if (ArrayBuffer.isView(part)) return `${part.byteLength} bytes`;
      return typeof part === 'object' && part !== null ? firstFields(part, length) : part;
    };
    // What JSON has no word for, as undefined or a function, is left to its name.
    return JSON.stringify(value, bounded) ?? String(value);
  } catch {
    return isList(value) ? 'a list that cannot be shown' : 'an object that cannot be shown';
  }
}

/** An object, or where it has very many fields another with the first of them. */
function firstFields(whole: object, most: number): object {
  const names: string[] = [];
  for (const name in whole) {
    names.push(name);
    if (names.length > most)
      return Object.fromEntries(names.map((name) => [name, (whole as Record<string, unknown>)[name]]));
  }
  return whole;
}

/** `Array.isArray`, which a proxy may refuse to answer. */
export function isList(value: unknown): boolean {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** What went wrong, of whatever was thrown. */
export function reasonOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? String(thrown.message) : quoted(thrown);
  } catch {
    return 'what was thrown cannot be shown';
  }
}
