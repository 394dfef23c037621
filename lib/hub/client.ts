// The Hub's own client, with aborts, and with its errors as this package's.
import { EmoframeError, throwIfAborted } from '../errors.js';
import { parseJson } from '../files/json.js';
import { isHash } from './blobs.js';
import { isCommit } from './cache.js';
import type { HubSettings } from './settings.js';

/** A file of a model, as the Hub lists it. */
export interface HubFile {
  path: string;
  /** Bytes. */
  size: number;
  /** SHA-256 of a large file; git's own SHA-1 of a small one. Checked to be either. */
  hash: string;
}

/** One model at one commit. */
export interface HubModel {
  name: string;
  commit: string;
  files: HubFile[];
}

/** More files than the repository of a model has, and more requests than the pages of their list take. */
const mostFiles = 10_000;
const mostRequests = 1000;
/** A model of a thousand files is described by 300 kB; a refusal is a sentence. */
const mostBytes = 16 << 20;
const mostOfRefusal = 1 << 20;
/** For one answer of those. */
const mostMilliseconds = 60_000;

/** What went wrong with the network: the cause of `fetch`'s error says more than its message. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: unknown; cause?: { code?: unknown; message?: unknown } };
  const below = cause?.message || cause?.code;
  return below ? `${String(message)} (${String(below)})` : String(message ?? error);
}

/** Asks one endpoint about one model. */
export class HubClient {
  #requests = 0;
  /** What all answers of a description may still have; undefined while files are asked for. */
  #bytes: number | undefined;

  constructor(
    readonly name: string,
    private readonly settings: HubSettings,
    private readonly signal: AbortSignal | undefined,
  ) {}

  #parameters() {
    const { endpoint, token } = this.settings;
    return {
      repo: { type: 'model', name: this.name } as const,
      hubUrl: endpoint,
      fetch: this.#fetch,
      ...(token === undefined ? {} : { accessToken: token }),
    };
  }

  #fetch: typeof fetch = async (input, init) => {
    // A list whose pages lead to each other would never end.
    if (++this.#requests > mostRequests)
      throw this.#malformed(`its answers ask for more than ${mostRequests} requests`);
    const headers = new Headers(init?.headers);
    const url = input instanceof Request ? input.url : String(input);
    // The client follows the endpoint's links to other hosts; the token is for the endpoint alone.
    if (new URL(url).origin !== new URL(this.settings.endpoint).origin) headers.delete('authorization');
    // Nothing here is worth being compressed, and what is not cannot be a bomb.
    headers.set('accept-encoding', 'identity');
    const time = this.#bytes === undefined ? undefined : AbortSignal.timeout(mostMilliseconds);
    const signals = [this.signal, time].filter((signal) => signal !== undefined);
    const response = await fetch(input, { ...init, headers, signal: AbortSignal.any(signals) });
    // For a file's bytes the client would wait without end where there can be none.
    if (response.ok && response.body === null)
      throw new Error(`it answered with status ${response.status}, which has no content`);
    // A file goes to disk as it comes, and no further than its size; all else is held in memory.
    return this.#bytes === undefined && response.ok ? response : this.#held(response);
  };

  /** An answer whose bytes have been read, no more than are left for all of them, whatever it is compressed to. */
  async #held(response: Response): Promise<Response> {
    const { body, status, statusText, headers } = response;
    if (body === null) return response;
    const parts: Uint8Array[] = [];
    let left = this.#bytes ?? mostOfRefusal;
    for await (const part of body) {
      left -= part.length;
      if (left < 0) throw this.#malformed(`it has more than ${mostBytes >> 20} MiB`);
      parts.push(part);
    }
    if (this.#bytes !== undefined) this.#bytes = left;
    const bytes = Buffer.concat(parts);
    if (response.ok) {
      await parseJson(bytes).catch((error: Error) => {
        throw this.#malformed(`it is not JSON (${error.message})`);
      });
    }
    return new Response(bytes, { status, statusText, headers });
  }

  /** An error of the client: a refusal of the Hub as `ERR_HUB`, a failure of the network as `ERR_DOWNLOAD`. */
  refusal(error: unknown): unknown {
    throwIfAborted(this.signal);
    if (error instanceof EmoframeError) return error;
    const { name, settings } = this;
    const refused = (what: string) => new EmoframeError('ERR_HUB', `${settings.endpoint} ${what}`, { cause: error });
    const status = (error as { statusCode?: unknown } | null)?.statusCode;
    const page = `${settings.endpoint}/${name}`;
    switch (status) {
      case 401:
        return refused(
          `denies access to ${name}: there is no such model, or it is private or gated. Check the name; if it is right, set HF_TOKEN to a token that may read it.`,
        );
      case 403:
        return refused(
          `does not let you download ${name}: accept its conditions at ${page}, and set HF_TOKEN to a token that may read it.`,
        );
      case 404:
        return refused(`has no model ${name} with a revision ${settings.revision}.`);
    }
    const reason = typeof status === 'number' ? `it answered with status ${status}` : reasonOf(error);
    return new EmoframeError('ERR_DOWNLOAD', `Could not get ${name} from ${settings.endpoint}: ${reason}. Try again.`, {
      cause: error,
    });
  }

  /** The commit of the revision asked for, and its files. Errors: `ERR_HUB`, `ERR_DOWNLOAD`, `ERR_ABORTED`. */
  async describe(): Promise<HubModel> {
    this.#requests = 0;
    this.#bytes = mostBytes;
    const { listFiles, modelInfo } = await import('@huggingface/hub');
    const { repo, ...parameters } = this.#parameters();
    const { revision } = this.settings;
    try {
      const { sha } = await modelInfo({ ...parameters, name: this.name, revision, additionalFields: ['sha'] });
      if (!isCommit(sha)) throw this.#malformed('its commit is not a hash');
      const files: HubFile[] = [];
      for await (const { type, path, size, oid, lfs } of listFiles({
        ...parameters,
        repo,
        revision: sha,
        recursive: true,
      })) {
        if (type !== 'file') continue;
        const hash = lfs?.oid ?? oid ?? '';
        // It becomes a file name.
        if (!isHash(hash)) throw this.#malformed(`it lists no hash of ${path}`);
        const bytes = lfs?.size ?? size;
        if (!Number.isSafeInteger(bytes) || bytes < 0) throw this.#malformed(`it lists no size of ${path}`);
        files.push({ path, size: bytes, hash });
        if (files.length > mostFiles) throw this.#malformed(`it lists more than ${mostFiles} files`);
      }
      return { name: this.name, commit: sha, files };
    } catch (error) {
      throw this.refusal(error);
    } finally {
      this.#bytes = undefined;
    }
  }

  /** The bytes of a file, from one on. Errors are of the network, and for `refusal` to name. */
  async open(path: string, commit: string, from: number): Promise<ReadableStream<Uint8Array>> {
    this.#requests = 0;
    const { downloadFile } = await import('@huggingface/hub');
    // Not by the chunks of Xet: plain ranges can be resumed at any byte, and every mirror has them.
    const file = await downloadFile({ ...this.#parameters(), path, revision: commit, xet: false });
    if (file === null) throw this.#malformed(`it lists ${path}, but does not have it`);
    return (from === 0 ? file : file.slice(from)).stream();
  }

  #malformed(what: string): EmoframeError {
    return new EmoframeError(
      'ERR_HUB',
      `The answer of ${this.settings.endpoint} about ${this.name} cannot be used: ${what}.`,
    );
  }
}
