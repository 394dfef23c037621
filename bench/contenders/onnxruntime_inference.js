import { Tensor } from 'onnxruntime-node';
import { waveformStatistics } from '../../dist/audio/normalize.js';
import { readHead } from '../../dist/checkpoint/head.js';
import { readUtterances } from '../harness/utterances.js';
import { openGraph, versions } from './onnxruntime_session.js';
import { serve, timed } from './serve.js';

let session;
let weight;
let bias;
let lengths;

/** Logits of the mean frame of `hidden` [T, C]. */
function classify(hidden) {
  const dimension = weight.length / bias.length;
  const mean = new Float64Array(dimension);
  for (let i = 0; i < hidden.length; i++) mean[i % dimension] += hidden[i];
  return Array.from(bias, (logit, c) => {
    for (let k = 0; k < dimension; k++) logit += (weight[c * dimension + k] * mean[k] * dimension) / hidden.length;
    return logit;
  });
}

serve({
  load: async ({ graph, model, lengths: given, threads }) => {
    lengths = given;
    const { tensors } = await readHead(model);
    [weight, bias] = ['weight', 'bias'].map((part) => tensors.find(({ name }) => name === `classifier.${part}`).data);
    session = await openGraph(graph, threads);
    return { versions };
  },
  run: async ({ input }) => {
    const utterances = await readUtterances(input, lengths);
    const { result, times } = await timed(async () => {
      const logits = [];
      for (const utterance of utterances) {
        const { mean, scale } = await waveformStatistics(utterance);
        const normalized = utterance.map((value) => (value - mean) * scale);
        const samples = new Tensor('float32', normalized, [1, utterance.length]);
        const { hidden } = await session.run({ samples });
        logits.push(...classify(hidden.data));
      }
      return logits;
    });
    return { ...times, logits: result };
  },
});
