// What a process uses when nothing is done and nothing is left to collect.
import { readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

/** Collects all garbage, that of the addon too, which goes a moment later. */
export async function collectAll() {
  for (let i = 0; i < 4; i++) {
    collect();
    await pause(20);
  }
}

export const threads = () => readdirSync('/proc/self/task').length;

/** Bytes of memory, and open files and threads. */
export async function usageAtRest() {
  await collectAll();
  const { rss, heapUsed, external } = process.memoryUsage();
  const files = readdirSync('/proc/self/fd').length;
  return { resident: rss, heap: heapUsed, external, files, threads: threads() };
}
