// Lines and branches of native that have run, from the counts that a build with EMOFRAME_COVERAGE leaves beside its objects.
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { Counts } from './counts.js';

function countsIn(build) {
  return readdirSync(build, { recursive: true })
    .filter((file) => file.endsWith('.gcda'))
    .map((file) => join(build, file));
}

/** Forgets what earlier runs of the programs in `build` have counted. */
export function forget(build) {
  for (const file of countsIn(build)) rmSync(file);
}

/**
 * The counts in `build` for the files below `root`/native. A function has several bodies: of a template, of a header in every file
 * that includes it, and one for each kind of processor (target_clones); a line or branch of it has run if it has in one of them.
 * Branches to where an exception is caught are not counted: almost every call has one.
 */
export function coverageOfNative(build, root) {
  const lines = new Map();
  for (const file of countsIn(build)) {
    const options = ['--json-format', '--stdout', '--branch-probabilities', file];
    const { status, stdout, stderr } = spawnSync('gcov', options, { cwd: build, encoding: 'utf8', maxBuffer: 1 << 30 });
    if (status !== 0) throw new Error(`coverage: gcov ${file} failed: ${stderr}`);
    const { files, current_working_directory: folder } = JSON.parse(stdout);
    for (const source of files) {
      const path = relative(root, resolve(folder, source.file)).split(sep).join('/');
      if (!path.startsWith('native/')) continue;
      if (!lines.has(path)) lines.set(path, new Map());
      const known = lines.get(path);
      for (const { line_number: number, count, branches } of source.lines) {
        if (!known.has(number)) known.set(number, { ran: false, branches: [] });
        const line = known.get(number);
        line.ran ||= count > 0;
        branches
          .filter((branch) => !branch.throw)
          .forEach((branch, i) => {
            line.branches[i] ||= branch.count > 0;
          });
      }
    }
  }
  const counts = new Counts();
  for (const [path, known] of lines) {
    const all = [...known.values()];
    const branches = all.flatMap((line) => line.branches);
    counts.add(
      path,
      { covered: all.filter(({ ran }) => ran).length, total: all.length },
      { covered: branches.filter(Boolean).length, total: branches.length },
    );
  }
  return counts;
}
