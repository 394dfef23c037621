/** How many lines and branches the files have, and how many of them have run. */
export class Counts {
  #files = new Map();

  /** Each count is `{ covered, total }`. */
  add(file, lines, branches) {
    this.#files.set(file, { lines, branches });
  }

  files() {
    return [...this.#files.keys()];
  }

  /** Sums of the files whose path begins so. */
  below(prefix) {
    const sum = { lines: { covered: 0, total: 0 }, branches: { covered: 0, total: 0 } };
    for (const [file, counts] of this.#files) {
      if (!file.startsWith(prefix)) continue;
      for (const kind of ['lines', 'branches']) {
        sum[kind].covered += counts[kind].covered;
        sum[kind].total += counts[kind].total;
      }
    }
    return sum;
  }
}

/** Per cent of what there is. */
export function percent({ covered, total }) {
  return total === 0 ? 100 : (100 * covered) / total;
}
