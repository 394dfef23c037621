// A model as one ONNX graph, from the waveform to the emotions.
import { join } from 'node:path';
import type { StoredPretrained } from '../checkpoint/pretrained.js';
import { Geometry } from '../model/geometry.js';
import { Graph } from '../onnx/graph.js';
import { type GraphValue, writeOnnx } from '../onnx/write.js';
import { packageVersion } from '../version.js';
import { classifierGraph, classifierOutputs } from './classifierGraph.js';
import { hubertGraph } from './hubertGraph.js';
import { onnxDataFile, onnxFile } from './onnxFiles.js';
import { Weights } from './weights.js';

const input = 'input_values';
const hiddenOutput = 'last_hidden_state';

/**
 * Writes the graph of a model into a folder: with a classifier, of logits, frame posteriors and attention; else of hidden
 * states.
 *
 * @param source the model's directory, for messages
 * @param external the weights in a file of their own; absent: when they do not fit into the graph's
 * @returns the names of the files
 */
export async function writeOnnxModel(
  folder: string,
  { config, normalize, tensors, head }: StoredPretrained,
  source: string,
  external: boolean | undefined,
): Promise<string[]> {
  const { shape } = config;
  const classifier = head?.kind === 'classifier' ? head : undefined;
  const pooling = classifier?.pooling ?? 'attention';
  const temperature = classifier?.calibration?.temperature ?? 1;
  const weights = new Weights(shape, classifier && { ...classifier, pooling }, tensors, source);
  const graph = new Graph();
  const hidden = hubertGraph(graph, weights, shape, input, normalize);
  if (classifier) classifierGraph(graph, weights, hidden, { pooling, hiddenSize: shape.hiddenSize, temperature });
  else graph.node('Identity', [hidden], { scope: 'encoder', output: hiddenOutput });
  const geometry = new Geometry(shape);
  const labels = classifier?.labels;
  const told = {
    version: packageVersion(),
    ...(labels && { labels, pooling }),
    sampleRate: Geometry.sampleRate,
    frameHopSeconds: geometry.frameSeconds,
    frameSeconds: geometry.receptiveField / Geometry.sampleRate,
    minimumSamples: geometry.receptiveField,
    normalized: normalize,
  };
  const model = {
    name: 'emoframe',
    description: `Speech emotion recognition on HuBERT. ${input}: ${Geometry.sampleRate} Hz mono audio in [-1, 1], at least ${geometry.receptiveField} samples, utterances of one length.`,
    producer: { name: 'emoframe', version: packageVersion() },
    graph,
    inputs: [
      {
        name: input,
        shape: ['batch', 'samples'],
        description: `${Geometry.sampleRate} Hz mono audio${normalize ? '; the graph brings it to zero mean and unit variance' : ', as it is'}`,
      },
    ],
    outputs: labels ? outputsFor(labels) : [hiddenStates(shape.hiddenSize)],
    metadata: { emoframe: JSON.stringify(told) },
  };
  return writeOnnx(join(folder, onnxFile), model, {
    externalName: onnxDataFile,
    ...(external !== undefined && { external }),
  });
}

function outputsFor(labels: readonly string[]): GraphValue[] {
  const classes = labels.length;
  const { logits, posteriors, attention } = classifierOutputs;
  return [
    { name: logits, shape: ['batch', classes], description: `scores of the utterance: ${labels.join(', ')}` },
    {
      name: posteriors,
      shape: ['batch', 'frames', classes],
      description: 'the classifier on each frame alone; sums to 1 over the emotions',
    },
    {
      name: attention,
      shape: ['batch', 'frames'],
      description: 'how much each frame counts in the decision; sums to 1 over the frames',
    },
  ];
}

function hiddenStates(hiddenSize: number): GraphValue {
  return { name: hiddenOutput, shape: ['batch', 'frames', hiddenSize], description: "the model's output" };
}
