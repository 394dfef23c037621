import { asJson, oneLine } from '../quote.js';

/** Markup that is safe to insert as it is. */
export class Html {
  private constructor(readonly text: string) {}

  /** Of this package's own text, never of a run's. */
  static trusted(text: string): Html {
    return new Html(text);
  }
}

type Part = Html | string | number | undefined | false | readonly Part[];

/**
 * Builds markup from a template. A value may stand in two places: as the content of an element, and in an attribute that only shows
 * or draws something. There is no way to write it anywhere else: not as the name of an element or of an attribute, nor in a style, a
 * script or an address.
 *
 * @example
 * html`<b title="${name}">${name}</b>`.text;
 */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Html {
  const places = placesOf(strings);
  return Html.trusted(
    strings.reduce((text, next, i) => text + textOf(parts[i - 1], places[i - 1] ?? 'content') + next),
  );
}

type Place = 'content' | 'attribute' | 'sound';

/** Attributes that a value may be written into, beside those that begin with `data-`; and an address, of sound in the page itself. */
const shownOrDrawn = new Set('aria-label class cx cy height points r title viewBox width x x1 x2 y y1 y2'.split(' '));
const places = new WeakMap<TemplateStringsArray, Place[]>();

/** Where each value of a template stands, found once a template. */
function placesOf(strings: TemplateStringsArray): Place[] {
  const known = places.get(strings);
  if (known !== undefined) return known;
  const found: Place[] = [];
  let before = '';
  for (const next of strings.slice(0, -1)) {
    before += next;
    found.push(placeAfter(before));
    // A value in an attribute does not end it, and one between elements is none of the template's markup.
    before += '_';
  }
  places.set(strings, found);
  return found;
}

/** Where the end of a template's markup lies. */
function placeAfter(markup: string): Place {
  // Complete tags, whose attributes are all quoted, are taken away; of one that is open, what stands behind its last attribute is left.
  const open = markup.replace(/<\/?[a-z][\w-]*(?:\s+[\w:-]+(?:="[^"]*")?)*\s*\/?>/gi, '');
  if (/<(?:script|style)\b/i.test(markup)) throw new Error('A template holds no script and no style.');
  if (!open.includes('<')) return 'content';
  const [, attribute = ''] = /^[^<>]*<[a-z][\w-]*(?:\s+[\w:-]+(?:="[^"]*")?)*\s+([\w:-]+)="[^"]*$/i.exec(open) ?? [];
  if (attribute === 'src') return 'sound';
  if (shownOrDrawn.has(attribute) || attribute.startsWith('data-')) return 'attribute';
  throw new Error(`A template has a value where none may stand: ${markup.slice(-80)}`);
}

function textOf(part: Part, place: Place): string {
  if (part === undefined || part === false) return '';
  if (part instanceof Html && place === 'content') return part.text;
  if (typeof part === 'object' && !(part instanceof Html)) return part.map((item) => textOf(item, place)).join('');
  const text = part instanceof Html ? part.text : String(part);
  if (place === 'sound' && !/^data:audio\/wav;base64,[A-Za-z0-9+/]*=*$/.test(text)) return '';
  return escapeText(text);
}

/** Text as markup that shows it: a mark that turns text around, or another that is not seen, as `\u202e`; lines stay lines. */
export function escapeText(text: string): string {
  return text
    .split('\n')
    .map(oneLine)
    .join('\n')
    .replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Data for a script of the page: `</script>` and the like cannot end it early. */
export function jsonScript(id: string, data: unknown): Html {
  const json = asJson(data).replace(/</g, '\\u003c');
  return Html.trusted(`<script type="application/json" id="${escapeText(id)}">${json}</script>`);
}

/** 0.756 → "75.6 %"; unknown → "–". */
export function percent(share: number | null | undefined, digits = 1): string {
  return isKnown(share) ? `${(100 * share).toFixed(digits)}\u2009%` : '–';
}

/** 1.62 → "1.62 ×"; unknown → "–". */
export function times(factor: number | null | undefined): string {
  return isKnown(factor) ? `${factor.toFixed(2)}\u2009×` : '–';
}

export function isKnown(value: number | null | undefined): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}
