import type { AudioProgress } from '../predict/options.js';
import { remarks, type Terminal } from './terminal.js';

/** What is shown while work is in progress. */
export interface ProgressState {
  /** What is being done, e.g. `session5 · pretrain`. */
  title: string;
  done: number;
  total: number;
  /** Numbers worth watching, e.g. `{ loss: 3.21 }`. */
  metrics?: Record<string, number>;
  message?: string;
}

const redrawMilliseconds = 100;
const plainMilliseconds = 10_000;
const barWidth = 24;

/**
 * Progress on stderr: one line redrawn in place on a terminal; otherwise a plain line when a task begins, every ten seconds,
 * and when it ends, so that a log stays readable.
 */
export class Progress {
  #title = '';
  #startedAt = 0;
  #startedFrom = 0;
  #shownAt = 0;
  #shown = '';

  constructor(
    private readonly terminal: Terminal = remarks,
    private readonly now: () => number = Date.now,
  ) {}

  update(state: ProgressState): void {
    const now = this.now();
    const begins = state.title !== this.#title;
    if (begins) {
      this.#endLine();
      this.#title = state.title;
      this.#startedAt = now;
      this.#startedFrom = state.done;
    }
    const ends = state.total > 0 && state.done >= state.total;
    const pause = this.terminal.interactive ? redrawMilliseconds : plainMilliseconds;
    if (!begins && !ends && now - this.#shownAt < pause) return;
    const line = this.#line(state, now);
    if (line === this.#shown) return;
    this.#shownAt = now;
    this.#shown = line;
    if (this.terminal.interactive) this.terminal.redraw(line);
    else this.terminal.note(line);
  }

  /** Whether `title` is the task updated last. */
  shows(title: string): boolean {
    return this.#title === title;
  }

  /** Leaves the last state on its own line. */
  finish(): void {
    this.#endLine();
    this.#title = '';
  }

  #endLine(): void {
    if (this.terminal.interactive && this.#shown !== '') this.terminal.note('');
    this.#shown = '';
  }

  #line({ title, done, total, metrics, message }: ProgressState, now: number): string {
    const share = total > 0 ? Math.min(done / total, 1) : 0;
    const filled = Math.round(share * barWidth);
    const parts = [title];
    if (this.terminal.interactive && total > 0) parts.push(`${'━'.repeat(filled)}${'─'.repeat(barWidth - filled)}`);
    if (total > 0) parts.push(`${format(done)}/${format(total)}`);
    if (message !== undefined) parts.push(message);
    for (const [name, value] of Object.entries(metrics ?? {}).slice(0, 3)) parts.push(`${name} ${format(value)}`);
    const worked = done - this.#startedFrom;
    const elapsed = (now - this.#startedAt) / 1000;
    if (share < 1 && worked > 0 && elapsed > 2) parts.push(`${clock((elapsed / worked) * (total - done))} left`);
    if (metrics?.audioSecondsPerSecond !== undefined) parts.push(speed(metrics));
    return parts.join('  ');
  }
}

/** Progress of long audio, window by window; shorter audio is too quick to show. */
export function showAudio(progress: Progress, title: string, { id, doneSeconds, totalSeconds }: AudioProgress): void {
  if (doneSeconds === totalSeconds && !progress.shows(`${title} ${id}`)) return;
  progress.update({
    title: `${title} ${id}`,
    done: Math.round(doneSeconds),
    total: Math.round(totalSeconds),
    message: 'seconds of audio',
  });
}

/** E.g. `10.4 s/s  312 GFLOP/s, 71 %`: seconds of audio a second, operations a second, their share of the device's. */
function speed({ audioSecondsPerSecond = 0, flopsPerSecond = 0, peakShare }: Record<string, number>): string {
  const share = peakShare === undefined ? '' : `, ${(100 * peakShare).toFixed(0)} %`;
  return `${format(audioSecondsPerSecond)} s/s  ${format(flopsPerSecond / 1e9)} GFLOP/s${share}`;
}

function format(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
}

function clock(seconds: number): string {
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  const two = (n: number) => String(n).padStart(2, '0');
  return minutes < 60
    ? `${minutes}:${two(whole % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}
