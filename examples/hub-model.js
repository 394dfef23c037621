// Hidden states of an audio file, with a model from the Hugging Face Hub.
//
//   node hub-model.js OWNER/NAME FILE
import { Encoder } from 'emoframe';

const [name, file] = process.argv.slice(2);
const encoder = await Encoder.load(name, {
  revision: 'main',
  onDownload: ({ file, doneBytes, totalBytes }) => console.error(file, doneBytes, totalBytes),
});
const { frames, dimension } = await encoder.encode(file);
console.log(`${frames} frames of ${dimension} numbers`);
await encoder.dispose();
