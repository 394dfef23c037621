import { largestOf, smallestOf } from '../lists.js';
import type { LogRow } from '../run/format.js';
import { stageList } from '../run/stages.js';
import { colorOf } from './colors.js';
import { type Html, html, isKnown, percent } from './html.js';

export const width = 300;
export const height = 180;
export const margin = { left: 44, right: 12, top: 10, bottom: 26 };

interface Line {
  name: string;
  /** CSS class that gives the colour. */
  tone: string;
  points: [x: number, y: number][];
}

/** Ticks at 1, 2 or 5 times a power of ten. */
export function ticks(low: number, high: number, wanted: number): number[] {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough)!;
  const all: number[] = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step)
    all.push(Number(at.toFixed(12)));
  return all;
}

export function short(value: number): string {
  if (Math.abs(value) >= 10000) return `${Number((value / 1000).toFixed(1))}k`;
  return String(Number(value.toPrecision(4)));
}

/** A chart of a few lines over steps; several folds share one tone. */
function lineChart(title: string, lines: Line[], asShare: boolean): Html {
  const xs = lines.flatMap((line) => line.points.map(([x]) => x));
  const ys = lines.flatMap((line) => line.points.map(([, y]) => y));
  const xLow = smallestOf(xs);
  const xHigh = Math.max(xLow + 1, largestOf(xs));
  const yLow = asShare ? 0 : smallestOf(ys);
  const yTop = asShare ? 1 : largestOf(ys);
  const yHigh = yTop > yLow ? yTop : yLow + 1;
  const x = (value: number) => margin.left + ((value - xLow) / (xHigh - xLow)) * (width - margin.left - margin.right);
  const y = (value: number) =>
    height - margin.bottom - ((value - yLow) / (yHigh - yLow)) * (height - margin.top - margin.bottom);
  const yLabel = (value: number) => (asShare ? `${Math.round(100 * value)}%` : short(value));
  const tones = [...new Map(lines.map((line) => [line.name, line.tone]))];
  return html`<figure class="chart"><figcaption>${title}${
    tones.length > 1 &&
    html`<span class="legend">${tones.map(([name, tone]) => html`<span class="key ${tone}">${name}</span>`)}</span>`
  }</figcaption>
<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${title} over steps">${ticks(yLow, yHigh, 4).map(
    (at) =>
      html`<line class="grid" x1="${margin.left}" x2="${width - margin.right}" y1="${y(at).toFixed(1)}" y2="${y(at).toFixed(1)}"/><text class="tick" x="${margin.left - 7}" y="${(y(at) + 3.5).toFixed(1)}" text-anchor="end">${yLabel(at)}</text>`,
  )}${ticks(xLow, xHigh, 4).map(
    (at) => html`<text class="tick" x="${x(at).toFixed(1)}" y="${height - 8}" text-anchor="middle">${short(at)}</text>`,
  )}${lines.map((line) =>
    line.points.length === 1
      ? html`<circle class="dot ${line.tone}" cx="${x(line.points[0]![0]).toFixed(1)}" cy="${y(line.points[0]![1]).toFixed(1)}" r="3"/>`
      : html`<polyline class="line ${line.tone}" points="${line.points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(' ')}"/>`,
  )}</svg></figure>`;
}

/** At most `limit` points, each the mean of its neighbours: a log can hold tens of thousands of rows. */
function thin(points: [number, number][], limit: number): [number, number][] {
  if (points.length <= limit) return points;
  const size = points.length / limit;
  return Array.from({ length: limit }, (_, i) => {
    const part = points.slice(Math.floor(i * size), Math.max(Math.floor((i + 1) * size), Math.floor(i * size) + 1));
    const mean = (axis: 0 | 1) => part.reduce((sum, point) => sum + point[axis], 0) / part.length;
    return [mean(0), mean(1)];
  });
}

const sharePattern = /(accuracy|ua|wa|f1|purity)$/i;

/** Training curves: a block per stage with separate charts for losses and shares, and one line per fold. */
export function trainingCurves(log: readonly LogRow[]): Html {
  return html`${stageList.map(({ name: stage, title }) => {
    const rows = log.filter((row) => row.stage === stage);
    const names = [...new Set(rows.flatMap((row) => [...row.metrics.keys()]))];
    const linesOf = (metric: string, tone: string): Line[] =>
      [...new Set(rows.map((row) => row.fold))].flatMap((fold) => {
        const points = rows
          .filter((row) => row.fold === fold && row.metrics.has(metric))
          .map((row): [number, number] => [row.step, row.metrics.get(metric)!]);
        return points.length === 0 ? [] : [{ name: spaced(metric), tone, points: thin(points, 160) }];
      });
    // Each kind has its own axis; metrics of no kind, such as learning rates, are not drawn.
    const kinds: [title: string, metrics: string[], asShare: boolean][] = [
      ['loss', names.filter((name) => /loss$/i.test(name)), false],
      ['inertia', names.filter((name) => /inertia$/i.test(name)), false],
      ['accuracy', names.filter((name) => sharePattern.test(name)), true],
      ['CCC', names.filter((name) => /ccc(?:\/|$)/i.test(name)), false],
    ];
    const charts = kinds.flatMap(([title, metrics, asShare]) => {
      const lines = metrics.flatMap((metric, i) => linesOf(metric, `tone${i % 4}`));
      return lines.length === 0 ? [] : [lineChart(metrics.length === 1 ? spaced(metrics[0]!) : title, lines, asShare)];
    });
    if (charts.length === 0) return undefined;
    return html`<div class="stage"><h3>${title.charAt(0).toUpperCase()}${title.slice(1)}</h3><div class="charts">${charts}</div></div>`;
  })}`;
}

/** "validationUa" → "validation UA". */
function spaced(name: string): string {
  return name
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .replace(/\b(ua|wa|f1|ccc)\b/g, (score) => score.toUpperCase());
}

/** Rows are the truth; the shade is the share of the row. */
export function confusionMatrix(
  title: string,
  confusion: readonly (readonly number[])[],
  labels: readonly string[],
): Html {
  return html`<figure class="matrix"><figcaption>${title}</figcaption><div class="scroll"><table>
<thead><tr><th class="corner"><span>true</span></th>${labels.map((label) => html`<th scope="col">${label}</th>`)}<th class="recall">recall</th></tr></thead>
<tbody>${confusion.map((row, truth) => {
    const total = row.reduce((sum, n) => sum + n, 0);
    const share = (n: number) => (total === 0 ? Number.NaN : n / total);
    return html`<tr><th scope="row"><i class="swatch ${colorOf(truth)}"></i>${labels[truth]}</th>${row.map(
      (n, predicted) =>
        html`<td class="${predicted === truth ? 'hit' : 'miss'} ${colorOf(predicted)} s${isKnown(share(n)) ? (100 * share(n)).toFixed(0) : 0}" title="${n} of ${total} ${labels[truth]} predicted as ${labels[predicted]}"><b>${isKnown(share(n)) ? Math.round(100 * share(n)) : '–'}</b><small>${n}</small></td>`,
    )}<td class="recall">${percent(share(row[truth]!), 0)}</td></tr>`;
  })}</tbody></table></div></figure>`;
}
