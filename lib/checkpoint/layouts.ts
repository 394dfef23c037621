// Which files make up a model, for each program that saves models as a directory. What is read and what is downloaded both follow.
import { headFiles } from './head.js';

export const configFile = 'config.json';
export const preprocessorFile = 'preprocessor_config.json';
/** Where transformers 5 keeps what the preprocessor file said, among other parts of a processor. */
export const processorFile = 'processor_config.json';
export const safetensorsFile = 'model.safetensors';
export const torchFile = 'pytorch_model.bin';

export type LayoutName = 'transformers' | 'emotion2vec' | 'speechbrain';

export interface Layout {
  name: LayoutName;
  /** Files of which it has all. */
  needs: readonly string[];
  /** Files of weights, in the order of preference, of which it has one; where an index is it, what it names too. */
  weights: readonly string[];
  /** What else says something of the model, where it is there. */
  also: readonly string[];
}

/** A directory is of the first of these of which it has all files that are needed. */
export const layouts: readonly Layout[] = [
  {
    name: 'transformers',
    needs: [configFile],
    // safetensors can hold nothing but tensors.
    weights: [safetensorsFile, `${safetensorsFile}.index.json`, torchFile, `${torchFile}.index.json`],
    also: [
      preprocessorFile,
      processorFile,
      'vocab.json',
      ...headFiles,
      // A predictor of emoframe's has clusters of its own.
      ...['centroids.safetensors', configFile, preprocessorFile, safetensorsFile].map((name) => `clusters/${name}`),
    ],
  },
  {
    name: 'speechbrain',
    needs: ['hyperparams.yaml', 'label_encoder.txt', 'model.ckpt'],
    weights: ['wav2vec2.ckpt'],
    also: [configFile, preprocessorFile],
  },
  {
    name: 'emotion2vec',
    needs: ['config.yaml'],
    weights: ['model.pt'],
    also: ['tokens.txt'],
  },
];

/** The first layout of which `has` has all files that are needed, and which file of weights it is. */
export async function findLayout(
  has: (file: string) => boolean | Promise<boolean>,
): Promise<{ layout: Layout; weights: string } | undefined> {
  for (const layout of layouts) {
    const needed = await Promise.all(layout.needs.map(has));
    if (!needed.every((found) => found)) continue;
    for (const weights of layout.weights) if (await has(weights)) return { layout, weights };
  }
  return undefined;
}
