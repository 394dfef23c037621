// Contenders take turns, run after run (A B C A B C …), so that a machine that slows down slows all of them. In every turn all
// get the same fresh input and what they computed is compared: nothing is reported unless all computed the same thing.
import { Child } from './child.js';
import { gpuBytes } from './gpu.js';

/**
 * @typedef {object} Measured
 * @property {import('./child.js').Contender} contender
 * @property {Record<string, unknown>} about what it answered to `load`: versions, variant
 * @property {number[]} milliseconds of each timed run, by the clock
 * @property {number[]} cpuMilliseconds of each timed run, of all processors together
 * @property {{ whole: number, running: number, gpu?: number }} memory peak bytes, of its process's life and of its runs, and what it
 *   holds of a GPU's at the end
 */

/**
 * @param {object} race
 * @param {import('./child.js').Contender[]} race.contenders
 * @param {ReturnType<import('./options.js').readOptions>} race.settings
 * @param {(turn: number) => Promise<Record<string, unknown>>} race.prepare what all are given in a turn
 * @param {(answers: Map<string, any>, turn: number) => Promise<void>} race.check throws when they differ
 * @returns {Promise<Measured[]>}
 */
export async function takeTurns({ contenders, settings, prepare, check }) {
  const { runs, warmups } = settings;
  const children = contenders.map((contender) => new Child(contender, settings));
  try {
    const measured = [];
    for (const child of children) {
      progress(`loading ${child.contender.name}`);
      const about = await child.call('load', {
        device: settings.device,
        threads: settings.threads,
        ...child.contender.load,
      });
      measured.push({ contender: child.contender, about, milliseconds: [], cpuMilliseconds: [] });
    }
    for (let turn = -warmups; turn < runs; turn++) {
      if (turn === 0) for (const child of children) await child.resetPeak();
      const input = await prepare(turn);
      const answers = new Map();
      for (const [index, child] of children.entries()) {
        progress(`${turn < 0 ? 'warming up' : `run ${turn + 1} of ${runs}`}: ${child.contender.name}`);
        const answer = await child.call('run', input);
        answers.set(child.contender.name, answer);
        if (turn < 0) continue;
        measured[index].milliseconds.push(answer.milliseconds);
        measured[index].cpuMilliseconds.push(answer.cpuMilliseconds);
      }
      await check(answers, turn);
    }
    for (const [index, child] of children.entries())
      measured[index].memory = { ...(await child.peakMemory()), gpu: gpuBytes(settings.device, child.pid) };
    return measured;
  } finally {
    progress('');
    for (const child of children) await child.close();
  }
}

/** The contenders that were asked for and can run here. */
export function choose(contenders, { only, variants, python }) {
  const words = only?.split(',').map((word) => word.trim().toLowerCase());
  const chosen = contenders.filter(
    ({ name, script, variant }) =>
      (python || !script.endsWith('.py')) &&
      (!variant || variants) &&
      (!words || words.some((word) => name.toLowerCase().includes(word))),
  );
  if (chosen.length === 0) throw new Error(`No contender is left of ${contenders.map(({ name }) => name).join(', ')}.`);
  return chosen;
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
