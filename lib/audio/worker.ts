// The thread behind AudioPool: one task at a time, in; its result or error, out.
import { parentPort, workerData } from 'node:worker_threads';
import { AudioCache } from './cache.js';
import { loadAudio } from './load.js';
import { type Reply, type Results, type Task, toErrorData, type WorkerSettings } from './messages.js';
import { mfcc } from './mfcc.js';

const port = parentPort;
if (port === null) throw new Error('This file is a worker of AudioPool and does nothing alone.');

const { cache: cacheOptions } = workerData as WorkerSettings;
let warnings: string[] = [];
const cache = cacheOptions && new AudioCache(cacheOptions, (message) => warnings.push(message));

port.on('message', (task: Task) => {
  perform(task).then(
    (result) => send({ result, warnings }, transferred(result)),
    (error: unknown) => send({ error: toErrorData(error, task.path), warnings }, []),
  );
});

function send(reply: Reply, transfer: ArrayBuffer[]): void {
  port?.postMessage(reply, transfer);
  warnings = [];
}

async function perform({ kind, path, range }: Task): Promise<Results[Task['kind']]> {
  const samples = await (cache === undefined ? loadAudio(path, range) : cache.load(path, range));
  if (kind === 'load') return { samples };
  if (kind === 'measure') return { sampleCount: samples.length };
  return { ...mfcc(samples), sampleCount: samples.length };
}

function transferred(result: Results[Task['kind']]): ArrayBuffer[] {
  if ('samples' in result) return [result.samples.buffer as ArrayBuffer];
  return 'features' in result ? [result.features.buffer as ArrayBuffer] : [];
}
