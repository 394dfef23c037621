// The thread behind AudioPool: one task at a time, in; its result or error, out.
import { parentPort, workerData } from 'node:worker_threads';
import { AudioCache } from './cache.js';
import { loadAudio } from './load.js';
import { type Order, type Reply, type Results, type Task, toErrorData, type WorkerSettings } from './messages.js';
import { mfcc } from './mfcc.js';

const port = parentPort;
if (port === null) throw new Error('This file is a worker of AudioPool and does nothing alone.');

const { cache: cacheOptions } = workerData as WorkerSettings;
let warnings: string[] = [];
const cache = cacheOptions && new AudioCache(cacheOptions, (message) => warnings.push(message));

let stop = new AbortController();

port.on('message', (order: Order) => {
  if (typeof order === 'string') {
    stop.abort();
    // Without its port nothing keeps the thread. One that is terminated in the middle of reading a file would leave it open.
    if (order === 'end') port.close();
    return;
  }
  stop = new AbortController();
  perform(order, stop.signal).then(
    (result) => send({ result, warnings }, transferred(result)),
    (error: unknown) => send({ error: toErrorData(error, order.path), warnings }, []),
  );
});

function send(reply: Reply, transfer: ArrayBuffer[]): void {
  port?.postMessage(reply, transfer);
  warnings = [];
}

async function perform({ kind, path, range, maxSeconds }: Task, signal: AbortSignal): Promise<Results[Task['kind']]> {
  const options = { signal, ...(maxSeconds !== undefined && { maxSeconds }) };
  const samples = await (cache === undefined ? loadAudio(path, range, options) : cache.load(path, range, options));
  if (kind === 'load') return { samples };
  if (kind === 'measure') return { sampleCount: samples.length };
  return { ...mfcc(samples), sampleCount: samples.length };
}

function transferred(result: Results[Task['kind']]): ArrayBuffer[] {
  if ('samples' in result) return [result.samples.buffer as ArrayBuffer];
  return 'features' in result ? [result.features.buffer as ArrayBuffer] : [];
}
