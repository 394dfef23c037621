// What the pages of all runs have in common.
import { trainingCurves } from './charts.js';
import { type Html, html } from './html.js';
import type { ReportedRun } from './readRun.js';

/** Curves of all stages; nothing where nothing was logged. */
export function trainingSection({ log, folds }: ReportedRun): Html | false {
  return (
    log.length > 0 &&
    html`<section id="training"><h2>Training</h2><p>Over optimiser steps${folds.length > 1 && ', one line per fold'}.</p><div class="stages">${trainingCurves(log)}</div></section>`
  );
}

export function settingsSection({ config }: ReportedRun): Html {
  return html`<section id="settings"><h2>Settings</h2><details><summary>Configuration of this run</summary><pre>${JSON.stringify(config, null, 2)}</pre></details></section>`;
}

export function duration(seconds: number): string {
  if (seconds < 90) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(seconds < 600 ? 1 : 0)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
