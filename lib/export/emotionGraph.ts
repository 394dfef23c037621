// The decision on an utterance and its frames as ONNX operators: the pooled classifier, the alignment network, or both.
import type { Normalization } from '../audio/normalize.js';
import { type Head, poolingOf } from '../checkpoint/head.js';
import type { AlignmentSettings, SoundStatistics } from '../model/alignment.js';
import type { Value } from '../onnx/graph.js';
import type { GraphValue } from '../onnx/write.js';
import { alignmentGraph, type Inputs } from './alignmentGraph.js';
import { type Classified, classifierGraph, framePosteriors } from './classifierGraph.js';
import { broughtSamples, featureEncoder, featureProjection, type Parts, transformer } from './hubertGraph.js';
import { islandPosteriorsGraph, islandsGraph } from './islandsGraph.js';

const outputs = { logits: 'logits', posteriors: 'frame_posteriors', attention: 'attention', frames: 'frame_logits' };
const scope = 'decision';
/** If no frame has any emotion, all have the same share (lib/evaluate/emotionalShare.ts). */
const smallestMass = 1e-8;

/** Samples `[B, samples]` to the graph's outputs, by their names. */
export function emotionGraph(parts: Parts, head: Head, samples: Value, normalize: Normalization): void {
  const { graph, weights, shape } = parts;
  const pooling = poolingOf(head);
  const features = sharedInputs(parts, samples, normalize);
  const statistics = head.alignment?.statistics;
  // With statistics of the training audio, the network's input differs from the classifier's.
  const apart = statistics && sharedInputs(parts, samples, statistics);
  let classified: Classified | undefined;
  if (pooling !== undefined) {
    const hidden = transformer(parts, features.projected(), { layer: 'output' }).at(-1)!;
    const { logits, attention } = outputs;
    const named = { attention, ...(head.alignment === undefined && { logits }) };
    const calibration = head.calibration?.classifier ?? 1;
    classified = classifierGraph(graph, weights, hidden, {
      ...{ pooling, calibration, hiddenSize: shape.hiddenSize },
      outputs: named,
    });
    if (head.alignment === undefined) framePosteriors(graph, hidden, classified, outputs.posteriors);
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
  { labels, calibration = {} }: Head,
  settings: AlignmentSettings,
  frameLogits: Value,
  classified: Classified | undefined,
): void {
  const node = (type: string, inputs: Value[], more: { attributes?: Record<string, number>; output?: Value } = {}) =>
    graph.node(type, inputs, { scope, ...more });
  const classes = labels.length;
  node('Identity', [frameLogits], { output: outputs.frames });
  const bias = graph.weight(weights.get('alignment.utterance_bias'));
  const islands = islandsGraph(graph, frameLogits, bias, classes, settings);
  // As lib/evaluate/fusion.ts does; the classifier's logits have their weight.
  const { alignment = 1 } = calibration;
  const weighted = node('Mul', [islands.logits, graph.scalar(alignment)], classified ? {} : { output: outputs.logits });
  const logits =
    classified === undefined ? weighted : node('Add', [classified.logits, weighted], { output: outputs.logits });
  const { neutral } = settings;
  const emotional = islandPosteriorsGraph(graph, logits, islands.occupancies, classes, neutral, outputs.posteriors);
  if (classified !== undefined) return;
  const mass = node('Squeeze', [node('Max', [emotional, graph.scalar(smallestMass)]), graph.integers(-1)]);
  const total = node('ReduceSum', [mass, graph.integers(1)], { attributes: { keepdims: 1 } });
  node('Div', [mass, total], { output: outputs.attention });
}

/** The outputs of the graph. */
export function emotionOutputs(head: Head): GraphValue[] {
  const { labels, alignment } = head;
  const classes = labels.length;
  return [
    { name: outputs.logits, shape: ['batch', classes], description: `scores of the utterance: ${labels.join(', ')}` },
    {
      name: outputs.posteriors,
      shape: ['batch', 'frames', classes],
      description:
        alignment === undefined
          ? 'the classifier on each frame alone; sums to 1 over the emotions'
          : 'that the frame is of the emotion, under the decision on the utterance; sums to 1 over the emotions',
    },
    {
      name: outputs.attention,
      shape: ['batch', 'frames'],
      description:
        poolingOf(head) === undefined
          ? "the frame's share of what is not neutral; sums to 1 over the frames"
          : 'how much each frame counts in the decision; sums to 1 over the frames',
    },
    ...(alignment === undefined
      ? []
      : [
          {
            name: outputs.frames,
            shape: ['batch', 'frames', classes],
            description: "the alignment network's scores of each frame",
          },
        ]),
  ];
}
