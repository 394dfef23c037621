import { EmotionModel } from '../../dist/predict/emotionModel.js';
import { readUtterances } from '../harness/utterances.js';
import { serve, timed } from './serve.js';

let model;
let lengths;
serve({
  load: async ({ model: directory, lengths: given, device, precision, threads }) => {
    lengths = given;
    model = await EmotionModel.load(directory, { device, precision, threads, clusters: false });
    return {};
  },
  run: async ({ input }) => {
    const utterances = await readUtterances(input, lengths);
    const { result, times } = await timed(async () => {
      const predictions = [];
      for await (const prediction of model.predictMany(utterances)) predictions.push(prediction);
      return predictions;
    });
    const logits = result.flatMap(({ probabilities }) => Object.values(probabilities).map(Math.log));
    return { ...times, logits };
  },
});
