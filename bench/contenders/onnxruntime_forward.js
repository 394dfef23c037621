import { basename, join } from 'node:path';
import { Tensor } from 'onnxruntime-node';
import { readFloat32, writeFloat32 } from '../harness/float32.js';
import { openGraph, versions } from './onnxruntime_session.js';
import { serve, timed } from './serve.js';

let session;
let name;
serve({
  load: async ({ graph, threads }) => {
    session = await openGraph(graph, threads);
    name = basename(graph, '.onnx');
    return { versions };
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
