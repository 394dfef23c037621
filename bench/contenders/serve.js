// A contender's side of harness/child.js in Node: one JSON line in, one out, on standard input and output.
import { createInterface } from 'node:readline';

/** Runs `work` and says how long it took on the clock, and of all processors together. */
export async function timed(work) {
  const cpu = process.cpuUsage();
  const started = performance.now();
  const result = await work();
  const milliseconds = performance.now() - started;
  const { user, system } = process.cpuUsage(cpu);
  return { result, times: { milliseconds, cpuMilliseconds: (user + system) / 1000 } };
}

/** @param {Record<string, (parameters: any) => Promise<unknown>>} handlers by method */
export async function serve(handlers) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { method, parameters } = JSON.parse(line);
    let answer;
    try {
      answer = { result: await handlers[method](parameters) };
    } catch (error) {
      answer = { error: error.stack };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}
