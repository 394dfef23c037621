// The classifier of HFLEA's fine_tune_hubert.py (ASolitaryMan/HFLEA), the reference of this method: it saves a model of its own
// class with transformers, HuBERT with attention pooling (`atten`) and a linear layer (`classifier.fc_out_1`) in one file.
import type { PublicForm } from './form.js';
import { labelsOf } from './labels.js';

/** The order in which its script numbers the four classes of IEMOCAP; the file itself does not say. */
const itsLabels = ['hap', 'neu', 'sad', 'ang'];

/** Class names of a config.json, where they are more than numbers. */
function labelsFor(config: Record<string, unknown>, classes: number): string[] {
  const named = labelsOf(config) ?? [];
  if (new Set(named).size === classes && !named.every((name) => /^LABEL_\d+$/.test(name))) return named;
  return classes === itsLabels.length ? itsLabels : Array.from({ length: classes }, (_, i) => `class ${i}`);
}

export const hflea: PublicForm = {
  form: 'hflea',
  title: "a classifier of HFLEA's script, of which its SoftAttention alone is supported",
  owns: (name) => /^(?:atten\.|classifier\.fc_out_1\.)/.test(name),
  async read(reader) {
    const { config, shape } = reader.source;
    const [classes = 0, width] = reader.shapeOf('classifier.fc_out_1.weight');
    if (width !== shape.hiddenSize)
      throw reader.refuse(`it is linear over ${width} values of ${shape.hiddenSize} channels`);
    // Its attention weights are a column.
    const attention = { name: 'pooling.weight', shape: [shape.hiddenSize] };
    await reader.take('atten.atten_weight', attention, [shape.hiddenSize, 1]);
    await reader.linear('classifier.fc_out_1', 'classifier', classes, shape.hiddenSize);
    return { labels: labelsFor(config, classes), pooling: 'attention' };
  },
};
