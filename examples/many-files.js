// A line of JSON for each audio file: files go through the model in batches, and a damaged one does not stop the others.
//
//   node many-files.js MODEL FILE...
import { EmotionModel } from 'emoframe';

const [name, ...files] = process.argv.slice(2);
const model = await EmotionModel.load(name, { clusters: false });
for await (const result of model.predictMany(files, { onError: 'yield', batchSeconds: 60 })) {
  if ('error' in result) console.error(`${result.id}: ${result.error.message}`);
  else console.log(JSON.stringify({ id: result.id, ...(result.values ?? result.probabilities) }));
}
await model.dispose();
