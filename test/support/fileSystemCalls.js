// What a program asks of the file system, call by call: to kill it before any of them, and to see their order.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Goes before a program's file in the arguments of Node. */
export const probe = ['--import', new URL('./fileSystemProbe.js', import.meta.url).href];

function runProgram(program, args, env) {
  return spawnSync(process.execPath, [...probe, '--input-type=module', '-e', program, ...args], {
    env: { ...process.env, COUNT_LATER: '1', ...env },
    encoding: 'utf8',
  });
}

/** The calls of a program, an ES module's text, from where it calls `startCounting()`: `[{ call, path, to? }]`. */
export function fileSystemCalls(program, args) {
  const scratch = mkdtempSync(join(tmpdir(), 'emoframe-calls-'));
  try {
    const file = join(scratch, 'calls.json');
    const { status, stderr } = runProgram(program, args, { CALLS_FILE: file });
    if (status !== 0) throw new Error(stderr);
    return JSON.parse(readFileSync(file, 'utf8'));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Runs the program and kills it before its call of this number (from 0). */
export function killedAtCall(program, args, call) {
  return runProgram(program, args, { KILL_AT_CALL: String(call) });
}
