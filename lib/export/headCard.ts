// What a pooled head is made of, in the words of a model card.
import { classifierOptions, type Head, poolingOf } from '../checkpoint/head.js';
import type { DenseLayer } from '../model/binding.js';
import { code } from './markdown.js';

/** Sentences, each after a space; none without a head that pools. */
export function headSentences(head: Head | undefined): string {
  const pooling = head?.kind === 'classifier' ? poolingOf(head) : undefined;
  if (head === undefined || pooling === undefined) return '';
  const { source, inputNorm, projector, dense = [] } = head.layers ?? {};
  const around = classifierOptions(head)?.frames;
  const sentences = [
    source === 'layers' ? 'The head reads a weighted sum of all hidden states.' : '',
    inputNorm === undefined
      ? ''
      : `What it reads is brought to zero mean and unit variance, ${inputNorm === 'frame' ? 'frame by frame' : 'all values of an utterance at once'}.`,
    projector === undefined ? '' : `Frames are projected to ${projector} values.`,
    `Frames are pooled by ${code(pooling)}.`,
    ...dense.map((layer) => `Then comes ${denseWords(layer)}.`),
    around === undefined || head.alignment !== undefined
      ? ''
      : `A frame has the outputs of the head for the ${around.window} frames around it, computed for every ${around.hop}th.`,
  ];
  return sentences.map((sentence) => (sentence === '' ? '' : ` ${sentence}`)).join('');
}

function denseWords({ width, norm, activation }: DenseLayer): string {
  const parts = [...(norm ? ['LayerNorm'] : []), ...(activation === 'none' ? [] : [activation])];
  return `a linear layer of width ${width}${parts.length === 0 ? '' : ` with ${parts.join(' and ')}`}`;
}
