import { height, margin, short, ticks, width } from './charts.js';
import { type Html, html } from './html.js';

/** True against predicted values: a point an utterance, and the line on which both are equal. */
export function scatterPlot(title: string, points: readonly (readonly [truth: number, predicted: number])[]): Html {
  const all = points.flat();
  const low = all.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
  const highest = all.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const high = highest > low ? highest : low + 1;
  const share = (value: number) => (value - low) / (high - low);
  const x = (value: number) => margin.left + share(value) * (width - margin.left - margin.right);
  const y = (value: number) => height - margin.bottom - share(value) * (height - margin.top - margin.bottom);
  const marks = ticks(low, high, 4);
  return html`<figure class="chart scatter"><figcaption>${title}</figcaption>
<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}: predicted over true values">${marks.map(
    (at) =>
      html`<line class="grid" x1="${margin.left}" x2="${width - margin.right}" y1="${y(at).toFixed(1)}" y2="${y(at).toFixed(1)}"/><text class="tick" x="${margin.left - 7}" y="${(y(at) + 3.5).toFixed(1)}" text-anchor="end">${short(at)}</text><text class="tick" x="${x(at).toFixed(1)}" y="${height - 8}" text-anchor="middle">${short(at)}</text>`,
  )}<line class="equal" x1="${x(low).toFixed(1)}" y1="${y(low).toFixed(1)}" x2="${x(high).toFixed(1)}" y2="${y(high).toFixed(1)}"/>${points.map(
    ([truth, predicted]) =>
      html`<circle class="dot tone2" cx="${x(truth).toFixed(1)}" cy="${y(predicted).toFixed(1)}" r="2"/>`,
  )}</svg></figure>`;
}
