// Lines and branches of lib that have run, from what preload.cjs left: c8 follows the source maps of dist.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Counts } from './counts.js';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');

/** What a process needs in its environment to be counted into `folder`. */
export function countedInto(folder) {
  return { EMOFRAME_COVERAGE: folder, NODE_OPTIONS: `--require=${join(here, 'preload.cjs')}` };
}

function run(command, args, cwd) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`coverage: ${command} ${args[0]} failed:\n${stdout ?? ''}${stderr ?? ''}`);
}

/** Files that hold types alone, which nothing loads. */
function withoutCode() {
  return readdirSync(join(root, 'dist'), { recursive: true })
    .filter((file) => file.endsWith('.js'))
    .map((file) => join('dist', file))
    .filter((file) => {
      const text = readFileSync(join(root, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
      return text.trim() === 'export {};';
    });
}

/** The counts in `folder`, for each file of lib. */
export function coverageOfLib(folder) {
  const program = join('node_modules', 'c8', 'bin', 'c8.js');
  if (!existsSync(join(here, program))) run('npm', ['ci', '--no-audit', '--no-fund'], here);
  const reports = mkdtempSync(join(tmpdir(), 'emoframe-coverage-'));
  try {
    // --all: a file that no test loads counts as well, with nothing run.
    const what = ['--src', join(root, 'dist'), '--all', '--include', 'dist/**'];
    const not = ['**/*.d.{ts,cts}', ...withoutCode()].flatMap((file) => ['--exclude', file]);
    const where = ['--temp-directory', folder, '--reports-dir', reports, '--reporter', 'json-summary'];
    run(process.execPath, [join(here, program), 'report', ...what, ...not, ...where], root);
    const { total: _, ...files } = JSON.parse(readFileSync(join(reports, 'coverage-summary.json'), 'utf8'));
    const counts = new Counts();
    for (const [file, { lines, branches }] of Object.entries(files))
      counts.add(relative(root, file).split(sep).join('/'), lines, branches);
    return counts;
  } finally {
    rmSync(reports, { recursive: true, force: true });
  }
}
