// What a user's machine meets: the package is packed with its prebuild and installed in an empty folder, where no compiler can be
// found, and then used as a program, as a module of either kind, and by TypeScript. Where the system lets it, the program also
// runs in a bare root that holds nothing but Node with its libraries and the installed package. Ends with `N passed, N failed`.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeFileTrace } from '@vercel/nft';
import { EmotionModel } from '../../dist/index.js';
import { validateBill } from '../support/cycloneDx.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-install-'));
// A bare root, with the user's folder in it.
const bare = join(scratch, 'root');
const app = join(bare, 'app');
const installed = join(app, 'node_modules', 'emoframe');
const prebuild = join(installed, 'prebuilds', `${process.platform}-${process.arch}`);
const tools = join(scratch, 'bin');
const program = 'node_modules/emoframe/dist/cli/main.js';
const sums = { passed: 0, failed: 0 };

async function check(name, work) {
  const started = Date.now();
  let problem;
  try {
    await work();
    sums.passed++;
  } catch (error) {
    sums.failed++;
    problem = error instanceof Error ? error.message : String(error);
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(1).padStart(5);
  process.stdout.write(
    `${problem === undefined ? 'ok    ' : 'FAILED'} ${seconds} s  ${name}\n${problem === undefined ? '' : `${problem}\n`}`,
  );
}

/** Runs a command to its end: `{ code, stdout, stderr }`. */
function run(command, args, options = {}) {
  return new Promise((resolve) => {
    execFile(command, args, { cwd: app, maxBuffer: 1 << 26, ...options }, (error, stdout, stderr) => {
      const code = error === null ? 0 : (error.code ?? error.signal);
      resolve({ code, stdout, stderr: code === 'ENOENT' ? error.message : stderr });
    });
  });
}

/** The standard output of a command that must succeed. */
async function succeed(command, args, options) {
  const { code, stdout, stderr } = await run(command, args, options);
  assert.equal(code, 0, `${basename(command)} ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

/** The user's environment: npm's settings and no path but the tools', nor a word on where libraries lie. */
function userEnvironment() {
  const env = { ...process.env, PATH: tools, npm_config_audit: 'false', npm_config_fund: 'false' };
  // The outer npm's own account of this package.
  for (const name of Object.keys(env)) {
    if (/^npm_(package|lifecycle|command|node_execpath|execpath)/.test(name)) delete env[name];
  }
  for (const name of ['LD_LIBRARY_PATH', 'LD_PRELOAD', 'NODE_PATH', 'NODE_OPTIONS', 'CC', 'CXX', 'INIT_CWD'])
    delete env[name];
  return env;
}

/** A folder with Node, npm and a shell: all of the search path. */
function makeTools() {
  mkdirSync(tools, { recursive: true });
  symlinkSync(process.execPath, join(tools, 'node'));
  for (const name of ['npm', 'npx', 'sh']) {
    const found = process.env.PATH.split(delimiter)
      .map((dir) => join(dir, name))
      .find((file) => existsSync(file));
    assert.ok(found, `${name} is not on the search path`);
    symlinkSync(realpathSync(found), join(tools, name));
  }
}

/** Node and the libraries that it is linked to, at their own paths in the bare root. */
async function furnishBareRoot() {
  const linked = [...(await succeed('ldd', [process.execPath])).matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path);
  for (const path of [process.execPath, ...linked]) {
    mkdirSync(join(bare, dirname(path)), { recursive: true });
    copyFileSync(realpathSync(path), join(bare, path));
  }
}

/** How to enter the bare root, or undefined where the system does not let this user. */
async function enterBareRoot() {
  for (const enter of [['chroot'], ['unshare', '--map-root-user', 'chroot']]) {
    const [command, ...args] = [...enter, bare, process.execPath];
    if ((await run(command, [...args, '--version'])).code === 0) return { command, args };
  }
}

/** A word of a command as it reads in the bare root, where the folder at hand is no longer `app`. */
function pathInside(word) {
  return existsSync(join(app, word)) ? `/app/${word}` : word;
}

const env = userEnvironment();
const user = (command, args) => run(join(tools, command), args, { env });
const emoframe = (words) => user('npx', ['--no', 'emoframe', ...words]);
let tarball;

async function makeAndInstall() {
  await check('npm pack makes the prebuild and a tarball of under 20 MB', async () => {
    const packed = await succeed('npm', ['pack', '--silent', '--pack-destination', scratch], { cwd: root });
    process.stdout.write(packed.replaceAll(/^/gm, '       ').trimEnd().concat('\n'));
    tarball = join(scratch, packed.trim().split('\n').at(-1));
    const megabytes = statSync(tarball).size / 1e6;
    process.stdout.write(`       ${megabytes.toFixed(1)} MB\n`);
    assert.ok(megabytes < 20, `${megabytes} MB`);
  });
  await check('no compiler, CMake or make can be found', async () => {
    for (const tool of ['cc', 'c++', 'gcc', 'g++', 'clang', 'cmake', 'make']) {
      assert.notEqual((await user('sh', ['-c', `command -v ${tool}`])).code, 0, tool);
    }
  });
  await check('npm install of the tarball in an empty folder', async () => {
    await succeed(join(tools, 'npm'), ['init', '--yes'], { env });
    await succeed(join(tools, 'npm'), ['install', tarball], { env });
    assert.ok(!existsSync(join(installed, 'build')), 'something was built');
    const licences = readdirSync(join(prebuild, 'LICENSES'));
    for (const name of ['README.txt', 'Apache-2.0.txt', 'GPL-3.txt']) assert.ok(licences.includes(name), name);
  });
  await check('the bill of materials is valid, and has the libraries that were installed', () => {
    const bill = JSON.parse(readFileSync(join(prebuild, 'sbom.cdx.json'), 'utf8'));
    assert.deepEqual(validateBill(bill), []);
    for (const soname of readdirSync(prebuild).filter((name) => name.includes('.so'))) {
      const { hashes } = bill.components.find(({ name }) => name === soname);
      const sha256 = createHash('sha256')
        .update(readFileSync(join(prebuild, soname)))
        .digest('hex');
      assert.equal(hashes[0].content, sha256, soname);
    }
  });
}

async function useAsProgram() {
  const voice = join(fixtures, 'audio', 'voice.wav');
  copyFileSync(voice, join(app, 'voice.wav'));
  await writeTinyPredictor(join(app, 'predictor'));
  const model = await EmotionModel.load(join(app, 'predictor'));
  const expected = await model.predict(voice);
  await model.dispose();

  /** What `doctor` and `predict` must say, however they are run. */
  const works = async (emoframe) => {
    const doctor = await emoframe(['doctor', '--json']);
    assert.equal(doctor.code, 0, doctor.stderr);
    const { addon, cpu } = JSON.parse(doctor.stdout);
    assert.equal(addon.origin, 'prebuild');
    assert.match(cpu.library, /^oneDNN /);
    const predict = await emoframe(['predict', 'voice.wav', '--model', 'predictor', '--json']);
    assert.equal(predict.code, 0, predict.stderr);
    const [{ label, probabilities, frames }] = JSON.parse(predict.stdout);
    assert.equal(label, expected.label);
    assert.equal(frames.length, expected.frames.length);
    for (const [name, p] of Object.entries(expected.probabilities))
      assert.ok(Math.abs(probabilities[name] - p) < 1e-4, name);
  };
  await check('npx emoframe doctor and predict', () => works(emoframe));
  await check('every library but Node’s own and glibc comes from the package', async () => {
    const script = `
      const own = process.report.getReport().sharedObjects;
      require('emoframe').Engine.create().dispose();
      const all = process.report.getReport().sharedObjects;
      console.log(JSON.stringify({ own, brought: all.filter((path) => !own.includes(path)) }));`;
    const { own, brought } = JSON.parse(await succeed(join(tools, 'node'), ['-e', script], { env }));
    const outside = brought.filter((path) => dirname(path) !== realpathSync(prebuild));
    assert.deepEqual(outside, []);
    const names = [...own, ...brought].map((path) => basename(path));
    for (const library of ['libdnnl', 'libgomp', 'libstdc++'])
      assert.ok(
        names.some((name) => name.startsWith(library)),
        library,
      );
  });

  await furnishBareRoot();
  const enter = await enterBareRoot();
  if (enter === undefined) {
    process.stdout.write('       not allowed to enter a bare root here: doctor and predict were not run in one\n');
  } else {
    // The way in is found on the system's path, of which nothing is there inside.
    const outer = { env: { PATH: process.env.PATH } };
    const inside = (words) => run(enter.command, [...enter.args, `/app/${program}`, ...words.map(pathInside)], outer);
    await check('doctor and predict in a bare root with Node and the package alone', () => works(inside));
    await check('a library missing from the package is named', async () => {
      const gomp = join(prebuild, 'libgomp.so.1');
      renameSync(gomp, `${gomp}.away`);
      const { code, stderr } = await inside(['doctor']);
      renameSync(`${gomp}.away`, gomp);
      assert.equal(code, 1, stderr);
      assert.match(stderr, /^emoframe: [^\n]*libgomp\.so\.1[^\n]*\(ERR_ADDON\)\n$/);
    });
  }
  await check('without a prebuild for the platform, one line says what to do', async () => {
    renameSync(prebuild, `${prebuild}.away`);
    const { code, stderr } = await emoframe(['doctor']);
    renameSync(`${prebuild}.away`, prebuild);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /^emoframe: [^\n]*platform=linux[^\n]*npm run build:addon[^\n]*\(ERR_ADDON\)\n$/);
  });
}

async function useAsModule() {
  const use = `const model = await EmotionModel.load('predictor');
    const { label } = await model.predict('voice.wav');
    await model.dispose();
    if (!model.labels.includes(label)) throw new Error(label);
    await EmotionModel.load('nowhere').catch((error) => {
      if (!(error instanceof EmoframeError)) throw error;
      console.log(error.code);
    });`;
  const files = {
    'module.mjs': `import { EmoframeError, EmotionModel } from 'emoframe';\n${use}`,
    'commonJs.cjs': `const { EmoframeError, EmotionModel } = require('emoframe');\n(async () => {${use}})();`,
    'both.cjs': `import('emoframe').then((m) => console.log(m.EmoframeError === require('emoframe').EmoframeError));`,
  };
  for (const [file, text] of Object.entries(files)) writeFileSync(join(app, file), text);
  const output = async (file) => {
    const { code, stdout, stderr } = await user('node', [file]);
    assert.equal(stderr, '');
    assert.equal(code, 0);
    return stdout;
  };
  await check('import', async () => assert.equal(await output('module.mjs'), 'ERR_FILE_NOT_FOUND\n'));
  await check('require', async () => assert.equal(await output('commonJs.cjs'), 'ERR_FILE_NOT_FOUND\n'));
  await check('import and require in one process give one package', async () =>
    assert.equal(await output('both.cjs'), 'true\n'),
  );
  // As Next.js (`output: 'standalone'`) and Vercel do: an application's files are those that its modules are seen to need.
  for (const file of ['module.mjs', 'commonJs.cjs']) {
    await check(`an application of the files traced from ${file}`, async () => {
      const traced = join(scratch, `traced-${file}`);
      const { fileList } = await nodeFileTrace([join(app, file)], { base: app });
      for (const name of [...fileList, 'predictor', 'voice.wav'])
        cpSync(join(app, name), join(traced, name), { recursive: true, dereference: true });
      assert.ok(!existsSync(join(traced, 'node_modules', 'emoframe', 'native')), 'more was traced than is needed');
      const { code, stdout, stderr } = await run(join(tools, 'node'), [file], { env, cwd: traced });
      assert.equal(code, 0, stderr);
      assert.equal(stdout, 'ERR_FILE_NOT_FOUND\n');
    });
  }
}

async function useTypes() {
  const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  cpSync(join(root, 'test', 'types'), join(app, 'types'), { recursive: true });
  // The last compiler that knows how Node 10 resolved modules.
  const old = 'typescript@5.9';
  await succeed(join(tools, 'npm'), ['install', old, `@types/node@${devDependencies['@types/node']}`], { env });
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const common = '--noEmit --strict --target es2022 --lib es2023,esnext.disposable --types node --skipLibCheck false';
  for (const [module, resolution, ...files] of [
    ['node16', 'node16', 'types/module.mts', 'types/commonJs.cts'],
    ['nodenext', 'nodenext', 'types/module.mts', 'types/commonJs.cts'],
    // A bundler's modules are ES modules.
    ['esnext', 'bundler', 'types/module.mts'],
    ['commonjs', 'node10', 'types/commonJs.cts'],
  ]) {
    await check(`types, with moduleResolution ${resolution}`, async () => {
      const options = [...common.split(' '), '--module', module, '--moduleResolution', resolution];
      const used = resolution === 'node10' ? join(app, 'node_modules', 'typescript', 'bin', 'tsc') : compiler;
      await succeed(join(tools, 'node'), [used, ...options, ...files], { env });
    });
  }
}

try {
  mkdirSync(app, { recursive: true });
  makeTools();
  await makeAndInstall();
  if (sums.failed === 0) {
    await useAsProgram();
    await useAsModule();
    await useTypes();
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.stdout.write(`${sums.passed} passed, ${sums.failed} failed\n`);
process.exit(sums.failed === 0 ? 0 : 1);
