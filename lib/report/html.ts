/** Markup that is safe to insert as it is. */
export class Html {
  constructor(readonly text: string) {}
}

type Part = Html | string | number | undefined | false | readonly Part[];

/**
 * Builds markup from a template; every inserted text is escaped, in elements and in quoted attributes alike.
 *
 * @example
 * html`<b title="${name}">${name}</b>`.text;
 */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Html {
  return new Html(strings.reduce((text, next, i) => text + textOf(parts[i - 1]) + next));
}

function textOf(part: Part): string {
  if (part === undefined || part === false) return '';
  if (part instanceof Html) return part.text;
  if (typeof part === 'object') return part.map(textOf).join('');
  return escapeText(String(part));
}

export function escapeText(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Data for a script of the page: `</script>` and the like cannot end it early. */
export function jsonScript(id: string, data: unknown): Html {
  const json = JSON.stringify(data).replace(/</g, '\\u003c');
  return new Html(`<script type="application/json" id="${escapeText(id)}">${json}</script>`);
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
