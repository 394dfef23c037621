// The model card's section on an alignment network: its input, how its posteriors are computed, and what decides.
import { type Head, poolingOf } from '../checkpoint/head.js';
import { type AlignmentSettings, alignmentField } from '../model/alignment.js';
import type { CardFacts } from './cardFacts.js';
import { code } from './markdown.js';

/** A section of the card; empty without such a network. */
export function timelineSection({ head, geometry, format }: CardFacts): string {
  if (head?.alignment === undefined) return '';
  const settings = head.alignment;
  const { scale, switchingCost } = settings;
  const neutral = code(head.labels[settings.neutral]!);
  const field = alignmentField(settings, geometry.frameSeconds);
  const apart =
    settings.statistics === undefined
      ? ', apart from normalisation over the utterance'
      : "; audio is normalised by statistics of the training audio, not by the utterance's own";
  const reach = `It sees at most ${seconds(field.seconds)} before and after a frame${apart}`;
  const model = `Forward-backward over islands of an emotion between frames of ${neutral} (κ ${scale}, ${switchingCost} nats for a change) turns frame logits into logits of the utterance and, for each emotion, the probability that a frame lies in an island of it, given that the utterance has that emotion`;
  const posterior = `A frame's posterior of an emotion is this probability times the probability that the utterance has the emotion; the rest is ${neutral}`;
  const frames = format === 'onnx' ? ' `frame_logits` are the output of the network before this step.' : '';
  return `## Timeline

The timeline comes from an alignment network of ${blocks(settings)} over ${inputOf(settings, geometry.frameSeconds)}. ${reach}.

${model}. ${posterior}.${frames}

${decision(head)}`;
}

function blocks({ halfWidths, width }: AlignmentSettings): string {
  const widths = halfWidths.map((half) => 2 * half + 1).join(', ');
  const count = halfWidths.length === 1 ? 'one convolution' : `${halfWidths.length} convolutions`;
  return halfWidths.length === 0 ? `linear layers of width ${width}` : `${count} (${widths} frames, width ${width})`;
}

function inputOf(settings: AlignmentSettings, frameSeconds: number): string {
  const bands = settings.melBands > 0 ? `${settings.melBands} log-mel bands of the audio and ` : '';
  return `${bands}${sourceOf(settings, frameSeconds)}`;
}

function sourceOf({ source, layer, chunkFrames, contextFrames }: AlignmentSettings, frameSeconds: number): string {
  if (source === 'features') return 'the output of the convolutional feature encoder';
  const context = contextFrames === 0 ? '' : `, each with ${seconds(contextFrames * frameSeconds)} more on either side`;
  const chunks = `chunks of ${seconds(chunkFrames * frameSeconds)}${context}`;
  const states =
    source === 'layers'
      ? `a weighted sum of hidden states 0 to ${layer}`
      : layer === 'output'
        ? 'the output'
        : `hidden state ${layer}`;
  return `${states} of the transformer, which processes the utterance in ${chunks}`;
}

function decision(head: Head): string {
  const { classifier, alignment } = head.calibration ?? {};
  const times = (weight: number | undefined) => (weight === undefined ? '' : ` times ${Number(weight.toPrecision(4))}`);
  if (poolingOf(head) === undefined)
    return `The network's logits${times(alignment)} decide the emotion of the utterance.`;
  const calibrated = head.calibration === undefined ? ' Neither is calibrated.' : ' The factors come from calibration.';
  return `The sum of the pooled classifier's logits${times(classifier)} and the network's${times(alignment)} decides the emotion of the utterance.${calibrated}`;
}

function seconds(value: number): string {
  return `${Number(value.toFixed(3))} s`;
}
