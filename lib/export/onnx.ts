// A model as one ONNX graph, from the waveform to the emotions.

import { join } from 'node:path';
import { classifierOptions, poolingOf } from '../checkpoint/head.js';
import type { StoredPretrained } from '../checkpoint/pretrained.js';
import { given } from '../given.js';
import { Geometry } from '../model/geometry.js';
import { Graph } from '../onnx/graph.js';
import { type GraphValue, writeOnnx } from '../onnx/write.js';
import { packageVersion } from '../version.js';
import { emotionGraph, emotionOutputs } from './emotionGraph.js';
import { familyOf } from './families.js';
import { broughtSamples, featureEncoder, featureProjection, transformer } from './hubertGraph.js';
import { onnxDataFile, onnxFile } from './onnxFiles.js';
import { Weights } from './weights.js';

const input = 'input_values';
const hiddenOutput = 'last_hidden_state';

/**
 * Writes the graph of a model into a folder: with a classifier, of logits, frame posteriors and attention, and of an alignment
 * network's frame logits where there is one; else of hidden states.
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
  const weights = new Weights(shape, classifier, tensors, source);
  const graph = new Graph();
  const parts = { graph, weights, shape };
  if (classifier) emotionGraph(parts, classifier, input, normalize);
  else {
    const features = featureEncoder(parts, broughtSamples(graph, input, normalize));
    const hidden = transformer(parts, featureProjection(parts, features), { layer: 'output' })[0]!;
    graph.node('Identity', [hidden], { scope: 'encoder', output: hiddenOutput });
  }
  const geometry = new Geometry(shape);
  const record = {
    version: packageVersion(),
    ...(classifier && {
      labels: classifier.labels,
      // Nothing, where there is none.
      task: classifier.task,
      pooling: poolingOf(classifier),
      layers: classifier.layers,
      frames: classifierOptions(classifier)?.frames,
      alignment: classifier.alignment,
      calibration: classifier.calibration,
    }),
    sampleRate: Geometry.sampleRate,
    frameHopSeconds: geometry.frameSeconds,
    frameSeconds: geometry.receptiveField / Geometry.sampleRate,
    minimumSamples: geometry.receptiveField,
    normalized: normalize,
  };
  const model = {
    name: 'emoframe',
    description: `Speech emotion recognition on ${familyOf(config).name}. ${input}: ${Geometry.sampleRate} Hz mono audio in [-1, 1], at least ${geometry.receptiveField} samples, utterances of one length.`,
    producer: { name: 'emoframe', version: packageVersion() },
    graph,
    inputs: [
      {
        name: input,
        shape: ['batch', 'samples'],
        description: `${Geometry.sampleRate} Hz mono audio${normalize === false ? ', as it is' : '; the graph itself normalises it'}`,
      },
    ],
    outputs: classifier ? emotionOutputs(classifier) : [hiddenStates(shape.hiddenSize)],
    metadata: { emoframe: JSON.stringify(record) },
  };
  return writeOnnx(join(folder, onnxFile), model, { externalName: onnxDataFile, ...given({ external }) });
}

function hiddenStates(hiddenSize: number): GraphValue {
  return { name: hiddenOutput, shape: ['batch', 'frames', hiddenSize], description: "the model's output" };
}
