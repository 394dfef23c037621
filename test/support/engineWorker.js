// A worker thread that makes an engine of its own and does as it is asked: `repeat` digests of what it computes, or work
// that does not end.
import { parentPort, workerData } from 'node:worker_threads';
import { digest, makeEngine, noise, trainAndEncode } from './busyEngine.js';

if (workerData.busy) {
  const { model } = await makeEngine();
  const batch = noise(model, 60);
  parentPort.postMessage('busy');
  for (;;) await Promise.all(Array.from({ length: 4 }, () => model.encode(batch, 'output')));
}
const digests = [];
for (let round = 0; round < workerData.repeat; round++) {
  const made = await makeEngine({ threads: workerData.threads });
  digests.push(digest(await trainAndEncode(made)));
  // The last one is left to the thread's end.
  if (round < workerData.repeat - 1) made.engine.dispose();
}
parentPort.postMessage(digests);
