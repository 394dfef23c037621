// Contenders take turns, run after run (A B C A B C …), so that a machine that slows down slows all of them. In every turn all
// get the same fresh input and what they computed is compared: what fails or computes something else is reported as a problem, and the
// benchmark then exits with 1, but what the others took is not lost.
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
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
 * @param {(answers: Map<string, any>, turn: number) => AsyncIterable<string>} race.check what differs, in sentences
 * @returns {Promise<{ measured: Measured[], problems: string[] }>}
 */
export async function takeTurns({ contenders, settings, prepare, check }) {
  const { runs, warmups } = settings;
  const racers = contenders.map((contender) => ({ contender, child: new Child(contender, settings) }));
  const problems = new Set();
  const running = () => racers.filter(({ failed }) => !failed);
  /** One that fails leaves the others to go on. */
  const attempt = async (racer, work) => {
    try {
      return await work(racer.child);
    } catch (error) {
      racer.failed = true;
      problems.add(error.message);
      process.stderr.write(`${error.message}\n`);
    }
  };
  try {
    for (const racer of racers) {
      progress(`loading ${racer.contender.name}`);
      const { device, threads } = settings;
      const about = await attempt(racer, (child) => child.call('load', { device, threads, ...racer.contender.load }));
      Object.assign(racer, { about, milliseconds: [], cpuMilliseconds: [] });
    }
    for (let turn = -warmups; turn < runs; turn++) {
      if (turn === 0) {
        if (settings.gate) await passGate(settings.gate);
        for (const racer of running()) await attempt(racer, (child) => child.resetPeak());
      }
      const input = await prepare(turn);
      const answers = new Map();
      for (const racer of running()) {
        progress(`${turn < 0 ? 'warming up' : `run ${turn + 1} of ${runs}`}: ${racer.contender.name}`);
        const answer = await attempt(racer, (child) => child.call('run', input));
        if (!answer) continue;
        answers.set(racer.contender.name, answer);
        if (turn < 0) continue;
        racer.milliseconds.push(answer.milliseconds);
        racer.cpuMilliseconds.push(answer.cpuMilliseconds);
      }
      if (answers.size === 0) throw new Error('No contender is left.');
      for await (const problem of check(answers, turn)) problems.add(problem);
    }
    for (const racer of running())
      racer.memory = { ...(await racer.child.peakMemory()), gpu: gpuBytes(settings.device, racer.child.pid) };
    return { measured: running(), problems: [...problems] };
  } finally {
    progress('');
    for (const { child } of racers) await child.close();
  }
}

/** Says in `GATE.ready` that what is timed may begin, and waits for the file GATE. */
async function passGate(gate) {
  writeFileSync(`${gate}.ready`, '');
  while (!existsSync(gate)) await sleep(20);
}

/** The contenders that were asked for and can run here. */
export function choose(contenders, { only, variants, python }) {
  const words = only?.split(',').map((word) => word.trim().toLowerCase());
  const fits = (name, part) => (part.startsWith('!') ? !name.includes(part.slice(1)) : name.includes(part));
  const chosen = contenders.filter(
    ({ name, script, variant }) =>
      (python || !script.endsWith('.py')) &&
      (!variant || variants) &&
      (!words || words.some((word) => word.split('+').every((part) => fits(name.toLowerCase(), part)))),
  );
  if (chosen.length === 0) throw new Error(`No contender is left of ${contenders.map(({ name }) => name).join(', ')}.`);
  return chosen;
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
