// Praat, which measures and changes the recordings: Debian's praat.
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Runs a program of the machine; says what to install when it is missing. */
export async function runProgram(program, words) {
  try {
    return await run(program, words);
  } catch (error) {
    if (error.code === 'ENOENT')
      throw new Error(`${program} is not installed. Install it with: apt-get install ${program}`);
    throw error;
  }
}

/**
 * @param {'measure' | 'change'} script
 * @param {Record<string, string | number>[]} jobs rows with the columns that the script names
 * @param {string} table where they are written for it
 * @param {string[]} words further arguments of the script
 */
export async function runPraat(script, jobs, table, words = []) {
  const columns = Object.keys(jobs[0]);
  const lines = [columns, ...jobs.map((job) => columns.map((column) => job[column]))].map((row) => row.join('\t'));
  await writeFile(table, `${lines.join('\n')}\n`);
  await runProgram('praat', ['--run', fileURLToPath(new URL(`${script}.praat`, import.meta.url)), table, ...words]);
}
