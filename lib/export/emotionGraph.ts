// The decision on an utterance and its frames as ONNX operators: the pooled classifier, the alignment network, or both.
import type { Normalization } from '../audio/normalize.js';
import { classifierOptions, type Head, poolingOf } from '../checkpoint/head.js';
import type { AlignmentSettings, SoundStatistics } from '../model/alignment.js';
import type { Value } from '../onnx/graph.js';
import type { GraphValue } from '../onnx/write.js';
import { alignmentGraph, type Inputs } from './alignmentGraph.js';
import { classifierGraph } from './classifierGraph.js';
import { broughtSamples, featureEncoder, featureProjection, transformer } from './hubertGraph.js';
import { islandPosteriorsGraph, islandsGraph } from './islandsGraph.js';
import type { Parts } from './layers.js';

const frameLogits = 'frame_logits';

/** What a head's outputs are called: of the utterance, of its frames, and the frames' weights. */
function outputsOf({ task }: Head): { utterance: Value; frames: Value; attention: Value } {
  const attention = 'attention';
  if (task === 'regression') return { utterance: 'values', frames: 'frame_values', attention };
  return { utterance: 'logits', frames: 'frame_posteriors', attention };
}

const scope = 'decision';
/** If no frame has any emotion, all have the same share (lib/evaluate/emotionalShare.ts). */
const smallestMass = 1e-8;

/** Samples `[B, samples]` to the graph's outputs, by their names. */
export function emotionGraph(parts: Parts, head: Head, samples: Value, normalize: Normalization): void {
  const options = classifierOptions(head);
  const outputs = outputsOf(head);
  const features = sharedInputs(parts, samples, normalize);
  const statistics = head.alignment?.statistics;
  // With statistics of the training audio, the network's input differs from the classifier's.
  const apart = statistics && sharedInputs(parts, samples, statistics);
  let classified: Value | undefined;
  if (options !== undefined) {
    const depth = { layer: 'output', all: options.source === 'layers' } as const;
    const states = transformer(parts, features.projected(), depth);
    const calibration = head.calibration?.classifier ?? 1;
    const named = head.alignment === undefined ? outputs : { attention: outputs.attention };
    classified = classifierGraph(parts, options, states, calibration, named);
  }
  if (head.alignment !== undefined)
    aligned(parts, head, head.alignment, alignmentGraph(parts, head.alignment, apart ?? features), classified);
}

/** The normalised samples, their features and the transformer's input, each made when first used. */
function sharedInputs(parts: Parts, input: Value, sound: Normalization | SoundStatistics): Inputs {
  const samples = once(() => broughtSamples(parts.graph, input, sound));
  const windows = typeof sound === 'object' && 'waveform' in sound ? sound.windows : undefined;
  const features = once(() => featureEncoder(parts, samples(), windows));
  return { samples, features, projected: once(() => featureProjection(parts, features())) };
}

function once(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** Frame logits `[B, T, classes]` to what they and the classifier decide. */
function aligned(
  { graph, weights }: Parts,
  head: Head,
  settings: AlignmentSettings,
  scores: Value,
  classified: Value | undefined,
): void {
  const node = (type: string, inputs: Value[], more: { attributes?: Record<string, number>; output?: Value } = {}) =>
    graph.node(type, inputs, { scope, ...more });
  const { labels, calibration = {} } = head;
  const outputs = outputsOf(head);
  const classes = labels.length;
  node('Identity', [scores], { output: frameLogits });
  const bias = graph.weight(weights.get('alignment.utterance_bias'));
  const islands = islandsGraph(graph, scores, bias, classes, settings);
  // As lib/evaluate/fusion.ts does; the classifier's logits have their weight.
  const { alignment = 1 } = calibration;
  const named = { output: outputs.utterance };
  const weighted = node('Mul', [islands.logits, graph.scalar(alignment)], classified ? {} : named);
  const logits = classified === undefined ? weighted : node('Add', [classified, weighted], named);
  const { neutral } = settings;
  const emotional = islandPosteriorsGraph(graph, logits, islands.occupancies, classes, neutral, outputs.frames);
  if (classified !== undefined) return;
  const mass = node('Squeeze', [node('Max', [emotional, graph.scalar(smallestMass)]), graph.integers(-1)]);
  const total = node('ReduceSum', [mass, graph.integers(1)], { attributes: { keepdims: 1 } });
  node('Div', [mass, total], { output: outputs.attention });
}

/** The outputs of the graph. */
export function emotionOutputs(head: Head): GraphValue[] {
  const { labels, alignment, task } = head;
  const { utterance, frames, attention } = outputsOf(head);
  const classes = labels.length;
  const what = task === 'regression' ? 'values' : 'scores';
  return [
    { name: utterance, shape: ['batch', classes], description: `${what} of the utterance: ${labels.join(', ')}` },
    { name: frames, shape: ['batch', 'frames', classes], description: framesDescription(head) },
    { name: attention, shape: ['batch', 'frames'], description: attentionDescription(head) },
    ...(alignment === undefined
      ? []
      : [
          {
            name: frameLogits,
            shape: ['batch', 'frames', classes],
            description: "the alignment network's scores of each frame",
          },
        ]),
  ];
}

function framesDescription(head: Head): string {
  const sum = head.task === 'regression' ? '' : '; sums to 1 over the emotions';
  if (head.alignment !== undefined)
    return `that the frame is of the emotion, under the decision on the utterance${sum}`;
  const around = classifierOptions(head)?.frames;
  if (around === undefined) return `the head on each frame alone${sum}`;
  return `the head on the ${around.window} frames around every ${around.hop}th, and of others that of the nearest${sum}`;
}

function attentionDescription(head: Head): string {
  const pooling = poolingOf(head);
  const sum = '; sums to 1 over the frames';
  if (pooling === undefined) return `the frame's share of what is not neutral${sum}`;
  if (pooling === 'max') return `the share of channels of which the frame has the largest value${sum}`;
  return `how much each frame counts in the decision${sum}`;
}
