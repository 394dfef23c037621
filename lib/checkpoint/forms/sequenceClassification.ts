// transformers' {Hubert,Wav2Vec2,WavLM}ForSequenceClassification: a linear projector of the last state, or of a learned sum of all
// states; the mean over frames; a linear layer. Both linear layers commute with the mean, so frames have exact outputs.
import type { PublicForm } from './form.js';
import { configLabels, taskOf } from './labels.js';

export const sequenceClassification: PublicForm = {
  form: 'sequence-classification',
  title: "a head of transformers' ForSequenceClassification classes",
  owns: (name) => /^(?:(?:projector|classifier)\.(?:weight|bias)|layer_weights)$/.test(name),
  async read(reader) {
    const { config, shape } = reader.source;
    const outputs = reader.rows('classifier.weight');
    const width = reader.rows('projector.weight');
    await reader.linear('projector', 'projector', width, shape.hiddenSize);
    await reader.linear('classifier', 'classifier', outputs, width);
    const weighted = config.use_weighted_layer_sum === true;
    if (weighted) await reader.take('layer_weights', { name: 'layer_weights' }, [shape.layers + 1]);
    else if (reader.has('layer_weights')) {
      throw reader.refuse(
        'it has tensor layer_weights, while use_weighted_layer_sum in config.json is not true: set it to true if the sum over layers is meant, or remove the tensor',
        'layer_weights',
      );
    }
    const labels = configLabels(reader, outputs);
    return {
      labels,
      ...taskOf(reader, labels),
      pooling: 'mean',
      layers: { ...(weighted && { source: 'layers' }), projector: width },
    };
  },
};
