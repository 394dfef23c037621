// Where models come from and where they are kept, by the environment variables of the Hub's own tools.
import { homedir } from 'node:os';
import { join } from 'node:path';
import { EmoframeError } from '../errors.js';
import { readText } from '../files/read.js';

/** What a download takes. What is absent comes from the environment. */
export interface HubOptions {
  /** Branch, tag or commit (default: `main`). */
  revision?: string;
  /** Access token of private and gated models (default: `HF_TOKEN`, or the one that `hf auth login` keeps). */
  token?: string;
  /** Where models are kept (default: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `~/.cache/huggingface/hub`). */
  cacheDir?: string;
  /** The Hub itself, or a mirror (default: `HF_ENDPOINT`, or https://huggingface.co). */
  endpoint?: string;
  /** Ask the network for nothing (default: whether `HF_HUB_OFFLINE` is set). */
  offline?: boolean;
}

export interface HubSettings extends Required<Omit<HubOptions, 'token'>> {
  token?: string;
}

/** Values that the Hub's tools take as yes. */
const yes = /^(?:1|true|yes|on)$/i;

function environment(name: string): string | undefined {
  const value = process.env[name]?.trim();
  return value === '' ? undefined : value;
}

const isSet = (name: string): boolean => yes.test(environment(name) ?? '');

function home(): string {
  const caches = environment('XDG_CACHE_HOME') ?? join(homedir(), '.cache');
  return environment('HF_HOME') ?? join(caches, 'huggingface');
}

function cacheDirectory(): string {
  return environment('HF_HUB_CACHE') ?? environment('HUGGINGFACE_HUB_CACHE') ?? join(home(), 'hub');
}

async function findToken(): Promise<string | undefined> {
  if (isSet('HF_HUB_DISABLE_IMPLICIT_TOKEN')) return undefined;
  const given = environment('HF_TOKEN') ?? environment('HUGGING_FACE_HUB_TOKEN');
  if (given !== undefined) return given;
  // Without a readable file nobody is logged in; the Hub then says what it requires.
  const kept = await readText(environment('HF_TOKEN_PATH') ?? join(home(), 'token'), 4096).catch(() => '');
  return kept.trim() === '' ? undefined : kept.trim();
}

/** Options, completed by the environment. Errors: `ERR_ARGUMENT` for a token, endpoint or revision that cannot be one. */
export async function readSettings(options: HubOptions): Promise<HubSettings> {
  const token = options.token ?? (await findToken());
  if (token !== undefined && !/^hf_\w+$/.test(token)) {
    const where = options.token === undefined ? 'HF_TOKEN or the file that keeps it' : 'the option token';
    throw new EmoframeError('ERR_ARGUMENT', `Expected an access token that begins with hf_ in ${where}.`);
  }
  let endpoint = options.endpoint ?? environment('HF_ENDPOINT') ?? 'https://huggingface.co';
  while (endpoint.endsWith('/')) endpoint = endpoint.slice(0, -1);
  if (!/^https?:\/\/[^/]/.test(endpoint)) {
    throw new EmoframeError('ERR_ARGUMENT', `Expected an http or https address for the Hub but received ${endpoint}.`);
  }
  const revision = options.revision ?? 'main';
  // It becomes a path below the cache.
  if (!/^[\w.-]+(?:\/[\w.-]+)*$/.test(revision) || revision.split('/').some((part) => /^\.+$/.test(part))) {
    throw new EmoframeError('ERR_ARGUMENT', `Expected a branch, tag or commit for revision but received ${revision}.`);
  }
  return {
    revision,
    cacheDir: options.cacheDir ?? cacheDirectory(),
    endpoint,
    offline: options.offline ?? (isSet('HF_HUB_OFFLINE') || isSet('TRANSFORMERS_OFFLINE')),
    ...(token === undefined ? {} : { token }),
  };
}
