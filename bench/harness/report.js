// What was measured, for a reader and for a file.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeCommit, describeMachine } from './machine.js';

/**
 * @param {object} outcome
 * @param {string} outcome.bench its name
 * @param {string} outcome.title what was measured
 * @param {Record<string, unknown>} outcome.workload
 * @param {import('./turns.js').Measured[]} outcome.measured
 * @param {string[]} outcome.problems what failed or differs; any makes the process exit with 1
 * @param {[ours: string, theirs: string, precision: string][]} outcome.comparisons name of ours, and library and precision
 *   of theirs, of which the fastest is taken
 * @param {{ work: number, unit: string }} [outcome.rate] how much of what a run does, to say how fast that is
 * @param {string} [outcome.agreement] what was compared, and how well it agreed
 * @param {ReturnType<import('./options.js').readOptions>} settings
 */
export async function report({ bench, title, workload, measured, problems, comparisons, rate, agreement }, settings) {
  const machine = describeMachine(settings.device);
  for (const { about } of measured) Object.assign(machine.versions, about.versions);
  const rows = measured.map(({ contender, about, milliseconds, cpuMilliseconds, memory }) => ({
    name: contender.name,
    library: contender.library,
    precision: contender.precision,
    ...about,
    median: median(milliseconds),
    milliseconds,
    cpuMedian: median(cpuMilliseconds),
    cpuMilliseconds,
    peakBytes: memory.whole,
    runningBytes: memory.running,
    gpuBytes: memory.gpu,
  }));
  const ratios = comparisons.flatMap(([ours, library, precision]) => {
    const us = rows.find(({ name }) => name === ours);
    const them = rows
      .filter((row) => row.library === library && row.precision === precision)
      .sort((a, b) => a.median - b.median)[0];
    return us && them ? [compare(us, them)] : [];
  });

  const { isa, bf16, gpu, versions } = machine;
  const onGpu = rows.some(({ gpuBytes }) => gpuBytes !== undefined);
  console.log(`${title}\n`);
  if (gpu) console.log(`${settings.device}: ${gpu.name}, driver ${gpu.driver}`);
  console.log(`${machine.cpu}, ${machine.cores} cores, ${isa[0]}, bf16 ${bf16 ? 'native' : 'emulated'}`);
  console.log(
    Object.entries(versions)
      .map(([name, version]) => (name === 'maths' ? version : `${name} ${version}`))
      .join(', '),
  );
  console.log(
    `${settings.threads} ${settings.threads === 1 ? 'thread' : 'threads'}, median of ${settings.runs} runs in turns\n`,
  );
  console.log(
    table([
      [
        '',
        'median',
        'least – most',
        'processor time',
        ...(rate ? [rate.unit] : []),
        'peak memory',
        'of runs alone',
        ...(onGpu ? ['of the GPU'] : []),
      ],
      ...rows.map((row) => [
        row.name,
        duration(row.median),
        `${duration(Math.min(...row.milliseconds))} – ${duration(Math.max(...row.milliseconds))}`,
        duration(row.cpuMedian),
        ...(rate ? [((1000 * rate.work) / row.median).toPrecision(3)] : []),
        mebibytes(row.peakBytes),
        mebibytes(row.runningBytes),
        ...(onGpu ? [row.gpuBytes === undefined ? '?' : mebibytes(row.gpuBytes)] : []),
      ]),
    ]),
  );
  if (ratios.length > 0) console.log('');
  for (const { ours, theirs, speed, cpu, least, most, memory, gpuMemory } of ratios)
    console.log(
      `${ours}: ${speed.toFixed(2)} times the speed of ${theirs} (${least.toFixed(2)} – ${most.toFixed(2)} by turn), ${cpu.toFixed(2)} in processor time, ${memory.toFixed(2)} of its peak memory${gpuMemory ? `, ${gpuMemory.toFixed(2)} of its GPU memory` : ''}`,
    );
  if (agreement) console.log(`\n${agreement}`);
  for (const problem of problems) console.log(`PROBLEM: ${problem}`);
  if (problems.length > 0) process.exitCode = 1;

  if (!settings.json) return;
  const { device, threads, runs, warmups, seed } = settings;
  const content = {
    bench,
    title,
    date: new Date().toISOString(),
    ...describeCommit(),
    machine,
    settings: { device, threads, runs, warmups, seed },
    workload,
    contenders: rows,
    ratios,
    agreement,
    problems,
  };
  await mkdir(dirname(settings.json), { recursive: true });
  await writeFile(settings.json, `${JSON.stringify(content, null, 2)}\n`);
}

function compare(us, them) {
  const byTurn = us.milliseconds.map((milliseconds, turn) => them.milliseconds[turn] / milliseconds);
  return {
    ours: us.name,
    theirs: them.name,
    speed: them.median / us.median,
    cpu: them.cpuMedian / us.cpuMedian,
    least: Math.min(...byTurn),
    most: Math.max(...byTurn),
    memory: us.peakBytes / them.peakBytes,
    ...(us.gpuBytes && them.gpuBytes && { gpuMemory: us.gpuBytes / them.gpuBytes }),
  };
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

function duration(milliseconds) {
  return milliseconds < 10_000 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function mebibytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join('   '),
    )
    .join('\n');
}
