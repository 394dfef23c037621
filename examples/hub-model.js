// Hidden states of an audio file, with a model from the Hugging Face Hub.
//
//   node hub-model.js OWNER/NAME FILE
import { downloadModel, Encoder } from 'emoframe';

const [name, file] = process.argv.slice(2);
const directory = await downloadModel(name, {
  revision: 'main',
  onProgress: ({ file, doneBytes, totalBytes }) => console.error(file, doneBytes, totalBytes),
});
const encoder = await Encoder.load(directory);
const { frames, dimension } = await encoder.encode(file);
console.log(`${frames} frames of ${dimension} numbers`);
await encoder.dispose();
