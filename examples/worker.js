// A model in a worker thread, for a process whose main thread must not even build the result objects.
//
//   node worker.js PREDICTOR_DIR FILE
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { EmotionModel } from 'emoframe';

if (isMainThread) {
  const [dir, file] = process.argv.slice(2);
  const worker = new Worker(new URL(import.meta.url), { workerData: { dir } });
  worker.postMessage(file);
  worker.once('message', ({ label, seconds }) => {
    console.log(`${label}, ${seconds} s`);
    worker.postMessage(null);
  });
} else {
  const model = await EmotionModel.load(workerData.dir, { threads: 1 });
  parentPort.on('message', async (file) => {
    if (file === null) {
      await model.dispose();
      parentPort.close();
      return;
    }
    const { label, seconds } = await model.predict(file);
    parentPort.postMessage({ label, seconds });
  });
}
