// The graph of a model directory for ONNX Runtime, made by transformers and PyTorch.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { once } from './workplace.js';

/**
 * Makes a graph unless it is there.
 *
 * @param {string} path
 * @param {{ model: string, samples: number, form: string, shape: string }} graph what `export_onnx.py` takes
 * @param {string | undefined} python
 */
export function onceGraph(path, { model, samples, form, shape }, python) {
  return once(path, async (part) => {
    if (!python) throw new Error('Making the graph for ONNX Runtime needs --python.');
    const script = fileURLToPath(new URL('../export_onnx.py', import.meta.url));
    await promisify(execFile)(python, [script, model, part, String(samples), form, shape]);
  });
}
