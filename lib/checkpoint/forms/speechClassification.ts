// The head that many fine-tuning scripts share (audeering, m3hrdadfi): frames are pooled; dense layer, tanh, linear layer. Some call
// the last `output` (ehcalabres); no config names their activation, which is taken to be the same.
import type { PoolingName } from '../../model/binding.js';
import type { PublicForm } from './form.js';
import { configLabels, taskOf } from './labels.js';

const poolings: readonly string[] = ['mean', 'sum', 'max'] satisfies PoolingName[];

export const speechClassification: PublicForm = {
  form: 'speech-classification',
  title: 'a head of a dense and a linear layer (classifier.dense)',
  owns: (name) => /^classifier\.(?:dense|out_proj|output)\.(?:weight|bias)$/.test(name),
  async read(reader) {
    const { config, shape } = reader.source;
    const output = reader.has('classifier.output.weight') ? 'classifier.output' : 'classifier.out_proj';
    const outputs = reader.rows(`${output}.weight`);
    const width = reader.rows('classifier.dense.weight');
    const pooling = config.pooling_mode ?? 'mean';
    if (typeof pooling !== 'string' || !poolings.includes(pooling)) {
      throw reader.refuse(
        `pooling_mode in config.json is ${JSON.stringify(pooling)}; known are ${poolings.join(', ')}`,
      );
    }
    await reader.linear('classifier.dense', 'dense.0', width, shape.hiddenSize);
    await reader.linear(output, 'classifier', outputs, width);
    const labels = configLabels(reader, outputs);
    return {
      labels,
      ...taskOf(reader, labels),
      pooling: pooling as PoolingName,
      layers: { dense: [{ width, activation: 'tanh' }] },
    };
  },
};
