// Everything between a fresh clone and a working build: system packages, npm packages, the addon, TypeScript. Each step is
// skipped when its result is already there and newer than what it is made from. Only Node's own modules are used, as nothing
// is installed yet when it starts.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const started = Date.now();

function say(text) {
  const seconds = ((Date.now() - started) / 1000).toFixed(0).padStart(3);
  process.stderr.write(`[setup ${seconds} s] ${text}\n`);
}

function fail(text) {
  process.stderr.write(`setup: ${text}\n`);
  process.exit(1);
}

function run(command, args, what, env = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (result.error) fail(`${what}: ${result.error.message}`);
  if (result.status !== 0) {
    process.stderr.write(`${result.stdout}${result.stderr}`);
    fail(`${what} failed (exit code ${result.status}): the lines above say why.`);
  }
}

function finds(command, args = ['--version']) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}

function hasOneDnn() {
  return (
    spawnSync('c++', ['-x', 'c++', '-E', '-'], {
      input: '#include <oneapi/dnnl/dnnl.hpp>\n',
      stdio: ['pipe', 'ignore', 'ignore'],
    }).status === 0
  );
}

function checkNode() {
  // As "engines" in package.json.
  const [major, minor] = process.versions.node.split('.').map(Number);
  if ((major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22) return;
  fail(
    `Node ${process.versions.node} is not supported: expected version 20.19 or newer of 20, 22.12 or newer of 22, or a newer one.`,
  );
}

function installSystemPackages() {
  const missing = [];
  if (!finds('c++')) missing.push('g++');
  if (!finds('cmake')) missing.push('cmake');
  if (!finds('make')) missing.push('make');
  if (missing.includes('g++') || !hasOneDnn()) missing.push('libdnnl-dev');
  if (missing.length === 0) return;
  const root = process.getuid?.() === 0;
  const sudo = !root && finds('sudo', ['-n', 'true']);
  const byHand = `apt-get install ${missing.join(' ')}`;
  if (!finds('apt-get'))
    fail(`missing on this machine: ${missing.join(', ')} (Debian/Ubuntu names). Install them and run again.`);
  if (!root && !sudo) fail(`missing on this machine: ${missing.join(', ')}. Run "sudo ${byHand}" and then this again.`);
  say(`installing system packages: ${missing.join(', ')}`);
  const apt = (args) => (root ? ['apt-get', args] : ['sudo', ['-n', 'apt-get', ...args]]);
  const quiet = { DEBIAN_FRONTEND: 'noninteractive' };
  run(...apt(['update', '-q']), 'apt-get update', quiet);
  run(...apt(['install', '-q', '-y', '--no-install-recommends', ...missing]), byHand, quiet);
}

/** Runs a step when the files it reads have changed since it last succeeded. */
function whenChanged(name, inputs, result, step) {
  const hash = createHash('sha256').update(process.version);
  for (const input of inputs) hash.update(readFileSync(join(root, input)));
  const stamp = join(root, 'node_modules', '.emoframe', name);
  const digest = hash.digest('hex');
  if (existsSync(stamp) && existsSync(join(root, result)) && readFileSync(stamp, 'utf8') === digest) return;
  step();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, digest);
}

checkNode();
installSystemPackages();
whenChanged('packages', ['package-lock.json'], 'node_modules/zod', () => {
  say('installing npm packages (npm ci)');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], 'npm ci');
});
say('building the native addon');
run('npm', ['run', '--silent', 'build:addon'], 'building the addon', {
  CMAKE_BUILD_PARALLEL_LEVEL: process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(availableParallelism()),
});
say('compiling TypeScript');
run('npm', ['run', '--silent', 'build:ts'], 'compiling TypeScript');
say('ready');
