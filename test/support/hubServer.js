// A server on the loopback that speaks the routes of the Hugging Face Hub that a download of a model takes: what is at a revision,
// the list of its files (in pages), and the files, large ones by a redirect to another host, in ranges. It can be made to fail.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

/** Kept as a large file, under its SHA-256; the others have git's SHA-1. */
const large = /\.(?:safetensors|bin|h5)$/;
const pageLength = 3;

function hashes(path, bytes) {
  const oid = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
  return { oid, sha256: large.test(path) ? createHash('sha256').update(bytes).digest('hex') : undefined };
}

/** The files below a directory as `{path: bytes}`. */
export function filesOf(directory) {
  const files = {};
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath ?? entry.path, entry.name);
    files[path.slice(directory.length + 1)] = readFileSync(path);
  }
  return files;
}

/**
 * Starts a server. `models`: `{'owner/name': {revisions: {main: COMMIT}, commits: {COMMIT: {path: bytes}}, token?, gated?}}`.
 *
 * @returns `url`; `requests`, each `{method, path, headers}`, in turn; `faults`, which a test sets; `close()`
 */
export async function startHub(models) {
  const requests = [];
  // cutAfter: bytes of a large file after which the connection breaks, once for each number; status: answered to all;
  // change: alters the bytes of a large file; list: alters the list of files; direct: large files are asked for where they
  // lie, as behind the Hub's CDN; endless: the list of files has always another page; listText: what is sent as the list; packed: what is sent as the
  // list, by gzip, whether that was asked for or not, with the status packedStatus
  const faults = {
    direct: false,
    endless: false,
    cutAfter: [],
    packedStatus: 200,
    status: undefined,
    change: (bytes) => bytes,
    list: (files) => files,
  };
  const cdn = createServer((request, response) => {
    requests.push({ path: `cdn:${request.url}`, headers: request.headers });
    const [, name, commit, path] = /^\/(.+?)@([0-9a-f]{40})\/(.+)$/.exec(request.url);
    const headers = faults.direct ? { 'x-cache': 'Hit from cloudfront' } : {};
    sendBytes(request, response, faults.change(models[name].commits[commit][path]), faults.cutAfter.shift(), headers);
  });
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://hub');
    requests.push({ path: url.pathname, headers: request.headers });
    const answer = (status, body, headers = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(JSON.stringify(body));
    };
    if (faults.status !== undefined) return answer(faults.status, { error: 'as asked' });
    const match =
      /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname) ??
      /^\/([^/]+\/[^/]+)\/(resolve)\/([^/]+)\/(.+)$/.exec(url.pathname);
    const [, name, route, encoded, path] = match ?? [];
    const model = models[name];
    const allowed = model?.token === undefined || request.headers.authorization === `Bearer ${model.token}`;
    // The real one does not show a stranger whether a private model is there.
    if (model === undefined || !allowed) return answer(401, { error: 'Invalid username or password.' });
    if (model.gated) return answer(403, { error: `Access to model ${name} is restricted.` });
    const revision = decodeURIComponent(encoded);
    const commit = model.revisions[revision] ?? revision;
    const files = model.commits[commit];
    if (files === undefined)
      return answer(404, { error: `Invalid rev id: ${revision}` }, { 'x-error-code': 'RevisionNotFound' });
    if (route === 'revision')
      return answer(200, { _id: '1', id: name, sha: commit, private: false, lastModified: '2024-01-01' });
    if (route === 'tree') {
      const entries = faults.list(
        Object.entries(files).map(([file, bytes]) => {
          const { oid, sha256 } = hashes(file, bytes);
          const lfs = sha256 && { oid: sha256, size: bytes.length, pointerSize: 134 };
          return { type: 'file', path: file, oid, size: bytes.length, ...(lfs && { lfs, xetHash: sha256 }) };
        }),
      );
      if (faults.packed !== undefined) {
        response.writeHead(faults.packedStatus, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
        return response.end(faults.packed);
      }
      if (faults.listText !== undefined) {
        response.writeHead(200, { 'content-type': 'application/json' });
        return response.end(faults.listText(JSON.stringify(entries)));
      }
      const at = Number(url.searchParams.get('cursor') ?? 0);
      url.searchParams.set('cursor', String(at + pageLength));
      const next = `<http://${request.headers.host}${url.pathname}${url.search}>; rel="next"`;
      const more = faults.endless || at + pageLength < entries.length;
      return answer(200, entries.slice(at, at + pageLength), more ? { link: next } : {});
    }
    const bytes = files[path];
    if (bytes === undefined) return answer(404, { error: 'Entry not found' }, { 'x-error-code': 'EntryNotFound' });
    const { oid, sha256 } = hashes(path, bytes);
    if (sha256 === undefined) {
      return sendBytes(request, response, bytes, undefined, { etag: `"${oid}"`, 'x-repo-commit': commit });
    }
    const about = { 'x-linked-etag': `"${sha256}"`, 'x-linked-size': bytes.length, 'x-repo-commit': commit };
    if (request.headers.accept?.includes('xet-fileinfo') && !faults.direct) {
      const link = `<http://${request.headers.host}/xet/auth>; rel="xet-auth", <http://${request.headers.host}/xet/info>; rel="xet-reconstruction-info"`;
      response.writeHead(200, {
        'content-type': 'application/vnd.xet-fileinfo+json',
        'x-xet-hash': sha256,
        link,
        ...about,
      });
      return response.end('{}');
    }
    response.writeHead(302, { location: `http://127.0.0.1:${cdn.address().port}/${name}@${commit}/${path}`, ...about });
    response.end();
  });
  for (const one of [server, cdn]) {
    one.listen(0, '127.0.0.1');
    await once(one, 'listening');
  }
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    faults,
    close: async () => {
      for (const one of [server, cdn]) {
        one.closeAllConnections();
        one.close();
      }
    },
  };
}

function sendBytes(request, response, bytes, cutAfter, headers = {}) {
  const range = /^bytes=(\d+)-(\d+)?$/.exec(request.headers.range ?? '');
  const first = range ? Number(range[1]) : 0;
  const last = Math.min(range?.[2] === undefined ? bytes.length - 1 : Number(range[2]), bytes.length - 1);
  const part = bytes.subarray(first, last + 1);
  response.writeHead(range ? 206 : 200, {
    'content-length': part.length,
    'content-type': 'application/octet-stream',
    etag: `"${createHash('sha256').update(bytes).digest('hex')}"`,
    ...(range && { 'content-range': `bytes ${first}-${last}/${bytes.length}` }),
    ...headers,
  });
  if (cutAfter === undefined || cutAfter >= part.length) return response.end(part);
  response.write(part.subarray(0, cutAfter), () => setTimeout(() => response.destroy(), 20));
}
