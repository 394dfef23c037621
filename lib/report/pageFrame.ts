// What the pages of all runs have around their own sections: head, facts, training and settings, footer, data and script.
import { createHash } from 'node:crypto';
import { oneLine } from '../quote.js';
import { colorOf, emotionColors } from './colors.js';
import { Html, html, jsonScript } from './html.js';
import type { ReportedRun } from './readRun.js';
import { pageScript } from './script.js';
import { duration, settingsSection, trainingSection } from './sections.js';
import { pageStyle } from './style.js';

/** The parts of a page that differ. */
export interface PageParts {
  /** What has a colour each: emotions, or dimensions. */
  names: readonly string[];
  /** What they are, in the facts: `4 emotions`. */
  counted: string;
  headline: string;
  lede: string;
  utterances: number;
  /** Of speech. */
  seconds: number;
  sections: Html;
  /** Behind the name of the run. */
  sources: string;
  /** What the script draws. */
  figures: readonly unknown[];
}

/** The whole page. */
export function pageOf(run: ReportedRun, parts: PageParts): string {
  const { names, headline, lede, utterances, seconds, sections } = parts;
  const title = run.name === '' ? 'emoframe report' : `emoframe: ${run.name}`;
  const style = `${emotionColors(names)}${pageStyle}`;
  return html`${Html.trusted('<!doctype html>')}
<html lang="en"><head><meta charset="utf-8">${policy(style, pageScript)}
<meta name="viewport" content="width=device-width, initial-scale=1"><title>${title}</title>
${Html.trusted(`<style>${style}</style>`)}</head><body>
<div class="masthead"><p class="brand">emoframe${run.name !== '' && html` · ${run.name}`}</p>
<h1>${headline}</h1>
<p class="lede">${lede}</p>
<ul class="facts"><li><b>${utterances}</b> test utterances</li><li><b>${duration(seconds)}</b> of speech</li><li><b>${names.length}</b> ${parts.counted}</li><li><b>${run.folds.length}</b> ${run.folds.length === 1 ? 'fold' : 'folds'}</li><li>run in <b>${duration(run.summary.seconds)}</b></li></ul></div>
<main>
${sections}
${trainingSection(run)}
${settingsSection(run)}
<footer>Made by emoframe from ${run.reader.paths.dir.split('/').at(-1) ?? ''}. ${parts.sources}</footer>
</main>
${jsonScript('timeline-data', { labels: names.map(oneLine), utterances: parts.figures })}${Html.trusted(`<script>${pageScript}</script>`)}</body></html>
`.text;
}

/**
 * What the browser lets the page do: run its own script, use its own style, play the sound that is in it, and fetch nothing, whatever
 * might have come into it.
 */
function policy(style: string, script: string): Html {
  const only = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const rules = `default-src 'none'; script-src ${only(script)}; style-src ${only(style)}; media-src data:; base-uri 'none'; form-action 'none'`;
  return Html.trusted(`<meta http-equiv="Content-Security-Policy" content="${rules}">`);
}

/** The colours of emotions, or dimensions, by name. */
export function legendOf(names: readonly string[]): Html {
  return html`<div class="emotions"><span class="legend">${names.map(
    (name, i) => html`<span><i class="swatch ${colorOf(i)}"></i>${name}</span>`,
  )}</span></div>`;
}
