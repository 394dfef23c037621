// The shared libraries that the addon needs, and the Debian packages that they are of.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { fail, output } from './common.js';

// glibc is the user's: its parts must be of one version with the system's loader.
const glibc = /^(linux-vdso|ld-linux|lib(c|m|dl|pthread|rt|resolv|util|anl))[.-]/;

/** Every library that the loader brings in with a file, by soname with its file and package, glibc's left out. */
export function librariesOf(file) {
  const found = new Map();
  for (const line of output('ldd', [file]).split('\n')) {
    const [, soname, path] = /^\s*(\S+) => (.*?)(?: \(0x[0-9a-f]+\))?$/.exec(line) ?? [];
    if (soname === undefined || glibc.test(soname)) continue;
    if (!existsSync(path)) fail(`${soname}, which the addon needs, is not installed here.`);
    found.set(soname, packageOf(realpathSync(path)));
  }
  return found;
}

/** The Debian package of a library, with its version and licence. */
function packageOf(library) {
  // A package may know its file by the path that it had before /lib became a link to /usr/lib.
  const paths = [library, library.replace(/^\/usr(?=\/lib)/, '')];
  const { stdout } = spawnSync('dpkg-query', ['--search', ...paths], { encoding: 'utf8' });
  if (!stdout) fail(`no Debian package is known to own ${library}, so its licence is not known either.`);
  const owner = stdout.split(':', 1)[0];
  const field = (name) => output('dpkg-query', ['--show', `--showformat=\${${name}}`, owner]);
  const source = field('source:Package');
  const version = field('source:Version');
  return { path: library, source, version, text: readFileSync(`/usr/share/doc/${owner}/copyright`, 'utf8') };
}
