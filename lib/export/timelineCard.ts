// What a model card says of an alignment network: what it hears, how its posteriors are made, and what decides.
import { type Head, poolingOf } from '../checkpoint/head.js';
import { type AlignmentSettings, alignmentField } from '../model/alignment.js';
import type { CardFacts } from './cardFacts.js';
import { code } from './markdown.js';

/** A section of the card; nothing without such a network. */
export function timelineSection({ head, geometry, format }: CardFacts): string {
  if (head?.alignment === undefined) return '';
  const settings = head.alignment;
  const { scale, switchingCost } = settings;
  const neutral = code(head.labels[settings.neutral]!);
  const field = alignmentField(settings, geometry.frameSeconds);
  const apart =
    settings.statistics === undefined
      ? ', norms over the utterance aside'
      : ": sound is brought to it by statistics of the training audio, not by the utterance's own";
  const hears = `It hears at most ${seconds(field.seconds)} before and after a frame${apart}`;
  const model = `By forward-backward over islands of an emotion between frames of ${neutral} (κ ${scale}, ${switchingCost} nats for a change) frame logits give logits of the utterance, and the probability that each frame lies in an island of an emotion, were the utterance of it`;
  const posterior = `The posterior of an emotion in a frame is that, times the probability that the utterance has the emotion; the rest is ${neutral}`;
  const frames = format === 'onnx' ? " `frame_logits` are the network's, before all this." : '';
  return `## Timeline

What tells when is an alignment network of ${blocks(settings)} over ${heard(settings, geometry.frameSeconds)}. ${hears}.

${model}. ${posterior}.${frames}

${decision(head)}`;
}

function blocks({ halfWidths, width }: AlignmentSettings): string {
  const widths = halfWidths.map((half) => 2 * half + 1).join(', ');
  const count = halfWidths.length === 1 ? 'one convolution' : `${halfWidths.length} convolutions`;
  return halfWidths.length === 0 ? `linear layers of width ${width}` : `${count} (${widths} frames, width ${width})`;
}

function heard(settings: AlignmentSettings, frameSeconds: number): string {
  const bands = settings.melBands > 0 ? `${settings.melBands} log-mel bands of the sound and ` : '';
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
  return `${states} of the transformer, which hears the utterance in ${chunks}`;
}

function decision(head: Head): string {
  const { classifier, alignment } = head.calibration ?? {};
  const times = (weight: number | undefined) => (weight === undefined ? '' : ` times ${Number(weight.toPrecision(4))}`);
  if (poolingOf(head) === undefined)
    return `The decision on the utterance is by the network's logits${times(alignment)}.`;
  const calibrated =
    head.calibration === undefined ? ' Neither is calibrated.' : ' The factors are those of calibration.';
  return `The decision on the utterance is by the sum of the pooled classifier's logits${times(classifier)} and the network's${times(alignment)}.${calibrated}`;
}

function seconds(value: number): string {
  return `${Number(value.toFixed(3))} s`;
}
