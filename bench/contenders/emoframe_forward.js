import { join } from 'node:path';
import { packSamples } from '../../dist/batch/pack.js';
import { Engine } from '../../dist/model/engine.js';
import { loadEncoder } from '../../dist/predict/loadModel.js';
import { readFloat32, writeFloat32 } from '../harness/float32.js';
import { serve, timed } from './serve.js';

let engine;
let model;
serve({
  load: async ({ model: directory, precision, threads }) => {
    engine = Engine.create({ threads });
    ({ model } = await loadEncoder(engine, directory, precision));
    return {};
  },
  run: async ({ input, output }) => {
    const samples = await readFloat32(input);
    const { result, times } = await timed(() => model.encode(packSamples([samples], model.geometry.stride), 'output'));
    const file = join(output, `emoframe-${model.spec.precision}.f32`);
    await writeFloat32(file, result.hidden);
    return { ...times, hidden: file };
  },
});
