// What the Hub says of a model, in two lines: its description and the list of its files. A server here answers with them.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { HubClient } from '../../../dist/hub/client.js';
import { jsonLine } from './corpora.js';

const commit = '0123456789abcdef0123456789abcdef01234567';
const description = { _id: '1', id: 'a/b', sha: commit, private: false, gated: false, downloads: 1, likes: 0 };
const file = { type: 'file', path: 'config.json', size: 3, oid: commit };
const large = { ...file, path: 'model.safetensors', lfs: { oid: commit.padEnd(64, '0'), size: 9, pointerSize: 134 } };

let server;
let answers = ['', ''];

async function start() {
  server = createServer(({ url }, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(answers[url.includes('/tree/') ? 1 : 0]);
  });
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
}

export const hubReader = {
  file: 'answers.jsonl',
  text: true,
  seeds: async () => [Buffer.from([description, [file, large]].map((answer) => JSON.stringify(answer)).join('\n'))],
  structured: jsonLine,
  read: async (path) => {
    if (server === undefined) await start();
    const [first, ...others] = (await readFile(path, 'utf8')).split('\n');
    answers = [first, others.join('\n')];
    // Messages name the endpoint, which holds the path.
    const endpoint = `http://127.0.0.1:${server.address().port}${path}`;
    await new HubClient('a/b', { endpoint, revision: 'main' }, undefined).describe();
  },
};
