// The same of a CommonJS module, with both ways of writing its imports; see module.mts.
import emoframe = require('emoframe');

import { EmoframeError, EmotionModel, type Prediction } from 'emoframe';

export async function predict(): Promise<Prediction> {
  const model: emoframe.EmotionModel = await emoframe.EmotionModel.load('predictor');
  const prediction = await model.predict('a.wav');
  await model.dispose();
  // @ts-expect-error no such method
  model.close();
  // @ts-expect-error an id is a string
  prediction.id.toFixed();
  // @ts-expect-error a directory is a string
  await EmotionModel.load(3);
  return prediction;
}

export function codeOf(error: unknown): string {
  // @ts-expect-error nothing of the sort is exported
  emoframe.EmoframeErrors;
  return error instanceof EmoframeError || error instanceof emoframe.EmoframeError ? error.code : '';
}
