// The thread behind AudioPool: one task at a time, in; its result or error, out.
import { parentPort } from 'node:worker_threads';
import { loadAudio } from './load.js';
import { type Reply, type Results, type Task, toErrorData } from './messages.js';
import { mfcc } from './mfcc.js';

const port = parentPort;
if (port === null) throw new Error('This file is a worker of AudioPool and does nothing alone.');

port.on('message', (task: Task) => {
  perform(task).then(
    (result) => {
      const reply: Reply = { result };
      port.postMessage(reply, transferred(result));
    },
    (error: unknown) => {
      const reply: Reply = { error: toErrorData(error, task.path) };
      port.postMessage(reply);
    },
  );
});

async function perform(task: Task): Promise<Results[Task['kind']]> {
  const samples = await loadAudio(task.path, task.range);
  if (task.kind === 'load') return { samples };
  if (task.kind === 'measure') return { sampleCount: samples.length };
  return { ...mfcc(samples), sampleCount: samples.length };
}

function transferred(result: Results[Task['kind']]): ArrayBuffer[] {
  if ('samples' in result) return [result.samples.buffer as ArrayBuffer];
  return 'features' in result ? [result.features.buffer as ArrayBuffer] : [];
}
