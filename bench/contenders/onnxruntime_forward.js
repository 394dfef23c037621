import { basename, join } from 'node:path';
import { env, InferenceSession, Tensor } from 'onnxruntime-node';
import { readFloat32, writeFloat32 } from '../harness/float32.js';
import { serve, timed } from './serve.js';

let session;
let name;
serve({
  load: async ({ graph, threads }) => {
    session = await InferenceSession.create(graph, {
      executionProviders: ['cpu'],
      graphOptimizationLevel: 'all',
      executionMode: 'sequential',
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      enableCpuMemArena: true,
      enableMemPattern: true,
    });
    name = basename(graph, '.onnx');
    return { versions: { onnxruntime: env.versions.node } };
  },
  run: async ({ input, output }) => {
    const samples = await readFloat32(input);
    const { result, times } = await timed(() =>
      session.run({ samples: new Tensor('float32', samples, [1, samples.length]) }),
    );
    const file = join(output, `${name}.f32`);
    await writeFloat32(file, result.hidden.data);
    return { ...times, hidden: file };
  },
});
