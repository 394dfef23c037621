// What the Hub answers: its description of a model and the list of its files, in two lines; or the answers to the requests for
// one file, with status, headers and body, of which a part may be there from earlier. A server here answers with them.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { HubClient } from '../../../dist/hub/client.js';
import { fetchFile } from '../../../dist/hub/fetchFile.js';
import { downloadModel } from '../../../dist/index.js';
import { jsonLine } from './corpora.js';
import { mutateJson } from './mutate.js';

const commit = '0123456789abcdef0123456789abcdef01234567';
const description = { _id: '1', id: 'a/b', sha: commit, private: false, gated: false, downloads: 1, likes: 0 };
const file = { type: 'file', path: 'config.json', size: 3, oid: commit };
const large = { ...file, path: 'model.safetensors', lfs: { oid: commit.padEnd(64, '0'), size: 9, pointerSize: 134 } };

let server;
let answer;

/** A server at this address, which answers as `next` says. Messages name the endpoint, which holds the path. */
async function endpoint(path, next) {
  if (server === undefined) {
    server = createServer((request, response) => {
      // Otherwise a body that is shorter than it was said to be would be waited for.
      response.shouldKeepAlive = false;
      answer(request, response);
    });
    server.listen(0, '127.0.0.1').unref();
    await once(server, 'listening');
  }
  answer = next;
  return `http://127.0.0.1:${server.address().port}${path}`;
}

const described = {
  file: 'answers.jsonl',
  text: true,
  seeds: async () => [Buffer.from([description, [file, large]].map((line) => JSON.stringify(line)).join('\n'))],
  structured: jsonLine,
  read: async (path) => {
    const [first, ...others] = (await readFile(path, 'utf8')).split('\n');
    const url = await endpoint(path, (request, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(request.url.includes('/tree/') ? others.join('\n') : first);
    });
    await new HubClient('a/b', { endpoint: url, revision: 'main' }, undefined).describe();
  },
};

const content = Buffer.from('{"a":1}\n');
const sha1 = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
const sha256 = createHash('sha256').update(content).digest('hex');
const probe = { status: 206, headers: { 'content-range': `bytes 0-0/${content.length}`, etag: '"x"' }, body: '{' };
const whole = { status: 200, headers: {}, body: String(content) };
const rest = { status: 206, headers: { 'content-range': 'bytes 3-7/8' }, body: '":1}\n'.slice(0, 5) };
const lead = {
  status: 302,
  headers: { location: '/elsewhere', 'x-linked-etag': '"x"', 'x-linked-size': '8' },
  body: '',
};
const exchanges = [
  { hash: sha1, answers: [probe, whole] },
  {
    hash: sha256,
    answers: [lead, { ...probe, headers: { ...probe.headers, 'x-cache': 'Hit from cloudfront' } }, whole],
  },
  { hash: sha1, partial: '{"a', answers: [probe, rest] },
  { hash: sha1, partial: '{"b', answers: [probe, rest, probe, whole] },
  { hash: sha1, answers: [probe, { status: 204 }] },
];

function send(response, said) {
  try {
    const { status, headers, body } = said;
    response.writeHead(status >= 200 ? status : 500, headers);
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  } catch {
    response.destroy();
  }
}

const downloaded = {
  file: 'exchange.json',
  text: true,
  seeds: async () => exchanges.map((exchange) => Buffer.from(JSON.stringify(exchange))),
  structured: (random, bytes) => Buffer.from(mutateJson(random, bytes.toString('utf8'))),
  read: async (path) => {
    let exchange;
    try {
      exchange = JSON.parse(await readFile(path, 'utf8'));
    } catch {
      exchange = {};
    }
    const { hash, partial, answers } = exchange ?? {};
    const left = Array.isArray(answers) ? answers.slice(0, 8) : [];
    const url = await endpoint(path, (_, response) => send(response, left.shift()));
    const wanted = hash === sha256 ? sha256 : sha1;
    const blob = join(dirname(path), 'hub', 'models--a--b', 'blobs', wanted);
    await rm(blob, { force: true });
    await mkdir(dirname(blob), { recursive: true });
    await rm(`${blob}.incomplete`, { force: true });
    if (typeof partial === 'string') await writeFile(`${blob}.incomplete`, partial);
    const client = new HubClient('a/b', { endpoint: url, revision: 'main' }, undefined);
    await fetchFile(client, { path: 'config.json', size: content.length, hash: wanted }, commit, blob, { pauses: [] });
    if (!(await readFile(blob)).equals(content)) throw new Error('it took other bytes than those of the hash');
  },
};

/** The commit of a branch, as it is noted in the cache. */
const noted = {
  file: 'hub/models--a--b/refs/main',
  text: true,
  prepare: async (directory) => {
    const folder = join(directory, 'hub', 'models--a--b', 'snapshots', commit);
    await mkdir(folder, { recursive: true });
    for (const name of ['config.json', 'model.safetensors', 'preprocessor_config.json'])
      await writeFile(join(folder, name), content);
  },
  seeds: async () => [Buffer.from(commit), Buffer.from(`${commit}\n`)],
  read: (path) => downloadModel('a/b', { offline: true, cacheDir: join(dirname(path), '..', '..') }),
};

export const hubReaders = { hub: described, 'hub-file': downloaded, 'hub-ref': noted };
