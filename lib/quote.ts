// How things that were received are shown in messages. They may come from a stranger's file, and a message ends on a
// terminal or in a log: it must not drive the one, nor flood the other, nor pretend to be several lines.

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for, and marks that turn text around
const unprintable = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const longest = 2000;
const keptEnd = 300;

/** Text on one line, of bounded length, whose control characters are written as `\u001b`. */
export function printable(text: string): string {
  const escaped = shortened(text).replace(unprintable, (character) => {
    if (character === '\n') return ' ';
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
  // Escapes are six times as long as what they stand for.
  return shortened(escaped);
}

/** The start and the end, where a sentence says what to do. */
function shortened(text: string): string {
  return text.length <= longest ? text : `${text.slice(0, longest - keptEnd)} … ${text.slice(-keptEnd)}`;
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
