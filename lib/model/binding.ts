/** Loads the native addon and turns its errors into {@link EmoframeError}. */
import { createRequire } from 'node:module';
import { dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import nodeGypBuild from 'node-gyp-build';
import type { NativeBinding } from '../../binding.js';
import { EmoframeError, isErrorCode } from '../errors.js';

export type * from '../../binding.js';

const require = createRequire(import.meta.url);
const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
let loaded: NativeBinding | undefined;

/**
 * The addon: one built from source here, or else the prebuilt one for this platform.
 *
 * @throws EmoframeError `ERR_ADDON` when it is missing or does not load, with what to do.
 */
export function binding(): NativeBinding {
  if (loaded) return loaded;
  // OpenMP's threads otherwise spin through whole time slices while they wait, which on a busy machine costs many times the
  // work itself. Read once, when the addon brings libgomp in; what the user has set stays.
  if (process.env.OMP_WAIT_POLICY === undefined) process.env.GOMP_SPINCOUNT ??= '20000';
  const { file } = findAddon();
  try {
    const addon = require('../addon.cjs') as NativeBinding;
    // process.exit() and an uncaught exception end the process with its threads running, while what those use is destroyed.
    process.once('exit', () => addon.endEngines());
    loaded = addon;
    return loaded;
  } catch (cause) {
    throw addonError(`${file} does not load: ${firstLine(cause)}.`, cause);
  }
}

/** The file that {@link binding} loads. */
export interface AddonFile {
  file: string;
  /** `prebuild` came with the package; `source` was built here. */
  origin: 'prebuild' | 'source';
}

/** @throws EmoframeError `ERR_ADDON` when there is none for this platform. */
export function findAddon(): AddonFile {
  try {
    const file = nodeGypBuild.path(root);
    return { file, origin: file.startsWith(join(root, 'build', sep)) ? 'source' : 'prebuild' };
  } catch (cause) {
    // The first line names the platform, its C library too.
    throw addonError(`${firstLine(cause)}.`, cause);
  }
}

function addonError(problem: string, cause: unknown): EmoframeError {
  return new EmoframeError(
    'ERR_ADDON',
    `The native addon did not load. ${problem} Build it from source with "npm run build:addon" in ${root}; that needs a C++17 compiler, make, CMake and oneDNN (Debian/Ubuntu: g++, make, cmake, libdnnl-dev).`,
    { cause },
  );
}

/** What an error of the addon becomes; anything else is passed on. */
function fromNative(error: unknown): unknown {
  if (error instanceof EmoframeError || !(error instanceof Error)) return error;
  const code = (error as Error & { code?: unknown }).code;
  if (!isErrorCode(code)) return error;
  return new EmoframeError(code, error.message, { cause: error });
}

/** Awaits or calls into the addon, with its errors translated. */
export async function native<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw fromNative(error);
  }
}

/** The same for calls that return at once. */
export function nativeSync<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromNative(error);
  }
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] ?? '';
}
