// How everything native was compiled and linked, from what CMake wrote down, with paths as they are in the archive: so
// scripts/gpu-check/rebuild needs neither CMake nor Node, and says nothing that CMakeLists.txt says.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';

// In the place of what another machine has elsewhere.
const compilers = [
  [/(^|\/)nvcc$/, '{nvcc}'],
  [/(^|\/)(c\+\+|g\+\+)(-\d+)?$/, '{c++}'],
];

/** The words of a command as CMake writes it, in which quotes and backslashes mean what they mean in a shell. */
function split(command) {
  const words = [];
  for (const [written] of command.matchAll(/(?:"(?:\\.|[^"\\])*"|\\.|[^\s"\\])+/g))
    words.push(written.replaceAll(/\\(.)|"/g, (_, escaped = '') => escaped));
  return words;
}

/** SHA-256 of a file of the checkout. */
export const hash = (file) => createHash('sha256').update(readFileSync(file)).digest('hex');

/**
 * @param {string} root the checkout
 * @param {string} build where it was built
 * @param {string[]} programs targets whose objects and links are listed
 * @param {string} libraries folder in the archive with the shared libraries
 */
export function describeBuild(root, build, programs, libraries) {
  const cuda = /-I"?([^\s"]*\/targets\/[^\s"]*)\/include/.exec(
    readFileSync(join(build, 'CMakeFiles/emoframe_cuda.dir/includes_CUDA.rsp'), 'utf8'),
  )[1];
  const translate = (word) =>
    word
      .replaceAll(`${root}/`, '')
      .replaceAll(`${cuda}/include`, '{cuda}/include')
      .replaceAll(`${cuda}/lib`, '{cuda}/lib');
  const compiler = (word) => compilers.find(([pattern]) => pattern.test(word))?.[1];

  const objects = [];
  for (const { directory, command, file } of JSON.parse(readFileSync(join(build, 'compile_commands.json'), 'utf8'))) {
    const words = split(command).flatMap((word, index, all) => {
      if (all[index - 1] === '--options-file') return split(readFileSync(join(directory, word), 'utf8'));
      return word === '--options-file' ? [] : [word];
    });
    while (!compiler(words[0])) words.shift(); // what launches the compiler, such as ccache
    words[0] = compiler(words[0]);
    const built = join(directory, words[words.indexOf('-o') + 1]);
    if (!existsSync(built) || !existsSync(`${built}.d`)) continue; // of a program that is not asked for
    const [, target] = /CMakeFiles\/([^/]+)\.dir\//.exec(built);
    const depends = readFileSync(`${built}.d`, 'utf8')
      .split(/[\s\\]+/)
      .slice(1)
      .map((path) => relative(root, resolve(directory, path)))
      .filter((path) => /^(native|test|bench)\//.test(path));
    const object = `objects/${target}/${relative(root, file)}.o`;
    words[words.indexOf('-o') + 1] = object;
    objects.push({ target, built, object, command: words.map(translate), depends: [...new Set(depends)].sort() });
  }

  const places = new Map(objects.map(({ built, object }) => [built, object]));
  const archives = { 'libemoframe_core.a': 'emoframe_core', 'libemoframe_cuda.a': 'emoframe_cuda' };
  const links = programs.map((target) => {
    const folder = [join(build, 'test/probe'), build].find((one) =>
      existsSync(join(one, `CMakeFiles/${target}.dir/link.txt`)),
    );
    const words = split(readFileSync(join(folder, `CMakeFiles/${target}.dir/link.txt`), 'utf8').trim());
    const output = words[words.indexOf('-o') + 1];
    const command = words.slice(1).flatMap((word) => {
      const name = basename(word);
      const object = places.get(resolve(folder, word));
      if (word === output) return ['{output}'];
      if (object) return [object];
      if (archives[name]) return objects.filter((one) => one.target === archives[name]).map((one) => one.object);
      if (name === 'libgomp.so' || name === 'libdnnl.so') return [`{${name}}`];
      return name === 'libpthread.a' ? ['-lpthread'] : [translate(word)];
    });
    return { target, built: join(folder, output), command: ['{c++}', ...command] };
  });
  const used = new Set(links.flatMap(({ command }) => command));
  const kept = objects.filter(({ object }) => used.has(object));
  const sources = Object.fromEntries(
    [...new Set(kept.flatMap(({ depends }) => depends))].sort().map((path) => [path, hash(join(root, path))]),
  );
  return { libraries, objects: kept, links, sources };
}
