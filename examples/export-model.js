// Exports a trained model in the two formats that other software reads: a Hugging Face directory and an ONNX graph.
//
//   node export-model.js PREDICTOR_DIR OUT_DIR
import { join } from 'node:path';
import { exportModel } from 'emoframe';

const [dir, out] = process.argv.slice(2);
for (const format of ['hf', 'onnx']) {
  const { files } = await exportModel(dir, { format, out: join(out, format), name: 'my-emotions', license: 'mit' });
  console.log(`${format}: ${files.map(({ path }) => path).join(', ')}`);
}
