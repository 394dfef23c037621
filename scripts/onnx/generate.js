// The code of the part of ONNX's schema that is written, lib/onnx/onnx_pb.ts, from schema/onnx.proto here.
//
//   node scripts/onnx/generate.js            write it
//   node scripts/onnx/generate.js --check    only check whether it is up to date
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const folder = join(here, '..', '..', 'lib', 'onnx');
const written = 'onnx_pb.ts';
const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });

function run(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: here, encoding: 'utf8' });
  if (status === 0) return;
  process.stderr.write(`${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}\n`);
  process.exit(1);
}

// The compiler is a binary inside one of its packages, so nothing is to be fetched by an install script.
if (!existsSync(join(here, 'node_modules'))) run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']);
const tool = (name) => join(here, 'node_modules', '.bin', name);
const made = mkdtempSync(join(tmpdir(), 'emoframe-onnx-schema-'));
try {
  const plugin = { local: tool('protoc-gen-es'), out: made, opt: ['target=ts', 'import_extension=js'] };
  run(tool('buf'), [
    'generate',
    join(here, 'schema'),
    '--template',
    JSON.stringify({ version: 'v2', plugins: [plugin] }),
  ]);
  if (values.check) {
    const same = readFileSync(join(folder, written), 'utf8') === readFileSync(join(made, written), 'utf8');
    if (!same) process.stderr.write(`lib/onnx/${written} is out of date: run npm run onnx-schema.\n`);
    process.stdout.write(`${same ? '1 passed, 0 failed' : '0 passed, 1 failed'}\n`);
    process.exitCode = same ? 0 : 1;
  } else copyFileSync(join(made, written), join(folder, written));
} finally {
  rmSync(made, { recursive: true, force: true });
}
