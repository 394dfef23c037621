import { readFileSync } from 'node:fs';
import { packageVersion } from '../version.js';

/** Packages that decide which samples come out of a file. */
const packages = [
  '@alexanderolsen/libsamplerate-js',
  '@wasm-audio-decoders/flac',
  '@wasm-audio-decoders/ogg-vorbis',
  'mpg123-decoder',
  'opus-decoder',
];

let versions: readonly string[] | undefined;

/** The versions of all that takes part in decoding and resampling: another one may give other bits. */
export function decoderVersions(): readonly string[] {
  versions ??= [packageVersion(), ...packages.map((name) => `${name} ${versionOf(name)}`)];
  return versions;
}

/** Packages do not export their package.json, so it is looked for above their entry. */
function versionOf(name: string): string {
  for (let url = new URL('.', import.meta.resolve(name)); ; url = new URL('..', url)) {
    const found = readPackage(new URL('package.json', url));
    if (found?.name === name) return found.version;
    if (new URL('..', url).href === url.href) return 'unknown';
  }
}

function readPackage(file: URL): { name: string; version: string } | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { name: string; version: string };
  } catch {
    return undefined;
  }
}
