// emotion2vec and emotion2vec+ as FunASR publishes them: `model.pt`, a config of data2vec 2.0 as YAML, and the labels, a line each. The
// mean over frames, then a linear layer.
import { join } from 'node:path';
import { EmoframeError } from '../../errors.js';
import { fileExists } from '../../files/read.js';
import { elementsOf } from '../../model/tensor.js';
import { readModelText } from '../failures.js';
import { describedByData2vec } from '../foreign/data2vec.js';
import type { ModelDescription } from '../shapes.js';
import { readModelYaml } from '../yaml.js';
import type { HeadReader, PublicForm } from './form.js';
import { checkedLabels } from './labels.js';

export const settingsFile = 'config.yaml';
const labelsFile = 'tokens.txt';

/**
 * The encoder that its config describes.
 *
 * @throws EmoframeError `ERR_MODEL_CONFIG` naming the field, `ERR_CHECKPOINT`, `ERR_FILE_NOT_FOUND`, `ERR_READ`
 */
export async function describedByEmotion2vec(directory: string): Promise<ModelDescription> {
  const file = join(directory, settingsFile);
  const { model_conf: fields } = await readModelYaml(file);
  return describedByData2vec(
    fields,
    undefined,
    (what) => new EmoframeError('ERR_MODEL_CONFIG', `The model_conf in ${file} ${what}.`, { file }),
  );
}

/** A line for each output. */
async function readLabels({ source }: HeadReader): Promise<string[] | undefined> {
  const file = join(source.directory, labelsFile);
  if (!(await fileExists(file))) return undefined;
  const lines = (await readModelText(file)).split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '');
}

export const emotion2vec: PublicForm = {
  form: 'emotion2vec',
  title: "emotion2vec's linear layer (proj)",
  owns: (name, { config }) => config.model_type === 'emotion2vec' && /^proj\.(?:weight|bias)$/.test(name),
  async read(reader) {
    const width = reader.source.shape.hiddenSize;
    const outputs = reader.rows('proj.weight');
    const labels = await readLabels(reader);
    if (labels === undefined)
      throw reader.refuse(`${labelsFile}, which names its ${outputs} outputs, is not beside it`);
    if (labels.length !== outputs) checkedLabels(reader, labels, outputs, labelsFile);
    await reader.linear('proj', 'classifier', outputs, width);
    // Outputs without a class are called `unuse…`, and FunASR gives them no probability.
    const used = labels.flatMap((label, i) => (label.startsWith('unuse') ? [] : [i]));
    for (const tensor of reader.tensors) {
      const row = elementsOf(tensor) / outputs;
      const rows = used.map((i) => tensor.data.subarray(i * row, (i + 1) * row));
      tensor.shape = [used.length, ...tensor.shape.slice(1)];
      tensor.data = Float32Array.from(rows.flatMap((values) => [...values]));
    }
    return {
      labels: checkedLabels(
        reader,
        used.map((i) => labels[i]!),
        used.length,
        labelsFile,
      ),
      pooling: 'mean',
    };
  },
};
